"""Work that outlives its caller's cancellation."""

import asyncio

import pytest
from flannel_sdk_etcd.undisturbed import GRACE_SECONDS, undisturbed

from flannel_sdk.testing import virtual_time


class Work:
    """Takes so many seconds."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.seconds = seconds
        self.error = error
        self.outcome = "not begun"

    async def run(self) -> str:
        self.outcome = "cancelled"
        await asyncio.sleep(self.seconds)
        self.outcome = "done"
        if self.error:
            raise self.error
        return "result"


def test_the_result_and_the_error_are_the_works() -> None:
    async def main() -> None:
        assert await undisturbed(Work(1).run()) == "result"
        with pytest.raises(KeyError):
            await undisturbed(Work(1, KeyError()).run())

    virtual_time.run(main())


@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("error", [None, KeyError()])
def test_a_cancelled_caller_waits_for_the_work(cancels: int, error: Exception | None) -> None:
    async def main() -> None:
        work = Work(GRACE_SECONDS, error)
        task = asyncio.create_task(undisturbed(work.run()))
        for _ in range(cancels):
            await asyncio.sleep(0.1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.outcome == "done"

    virtual_time.run(main())


def test_work_without_an_end_is_cancelled_too() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        work = Work(3600)
        task = asyncio.create_task(undisturbed(work.run()))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.time() == pytest.approx(1 + GRACE_SECONDS)
        assert work.outcome == "cancelled"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_time.run(main())
