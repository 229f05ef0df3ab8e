"""Work that outlives its caller's cancellation, and streams that end with their store."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from flannel_sdk_etcd.closing import Closing
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


async def count(limit: int, ended: list[str]) -> AsyncGenerator[int, None]:
    try:
        for number in range(limit):
            yield number
        await asyncio.Event().wait()
    finally:
        ended.append("ended")


async def test_a_stream_ends_when_it_is_closed_and_closes_its_source() -> None:
    closing = Closing()
    ended: list[str] = []
    items = closing.until_closed(count(2, ended))
    assert [await anext(items), await anext(items)] == [0, 1]
    waiting = asyncio.ensure_future(anext(items, "end"))
    await asyncio.sleep(0)
    closing.close()
    closing.close()
    assert await waiting == "end"
    assert ended == ["ended"]
    assert [item async for item in closing.until_closed(count(2, ended))] == []


async def test_a_cancelled_reader_of_a_stream_is_cancelled() -> None:
    closing = Closing()
    ended: list[str] = []
    items = closing.until_closed(count(0, ended))
    waiting = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == ["ended"]


async def test_a_timeout_of_the_source_or_of_the_reader_stays_one() -> None:
    async def fails() -> AsyncGenerator[int, None]:
        yield 1
        raise TimeoutError("its own")

    closing = Closing()
    async with aclosing(closing.until_closed(fails())) as items:
        assert await anext(items) == 1
        with pytest.raises(TimeoutError, match="its own"):
            await anext(items)
    async with aclosing(closing.until_closed(count(0, []))) as waits:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(waits), 0.01)
