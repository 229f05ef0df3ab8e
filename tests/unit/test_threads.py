"""A cancel of work in a thread waits for the thread, and loses nothing of what it makes."""

import asyncio
import threading

import pytest

from flannel_sdk.threads import in_thread


class Slow:
    """Work that has begun, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.go_on.wait(10)
        return "made"

    async def cancelled(self, task: "asyncio.Task[str]", times: int) -> None:
        """Cancel ``task`` while the work is done, which then goes on."""
        assert await asyncio.to_thread(self.begun.wait, 10)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        self.go_on.set()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_the_result_is_given() -> None:
    assert await in_thread(lambda: 7) == 7


async def test_a_failure_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancel_waits_and_what_was_made_is_freed(times: int) -> None:
    slow, freed = Slow(), list[str]()
    task = asyncio.create_task(in_thread(slow, freed.append))
    await slow.cancelled(task, times)
    assert freed == ["made"]


async def test_a_cancel_wins_over_a_failure() -> None:
    slow = Slow()

    def fail() -> str:
        slow()
        raise OSError

    await slow.cancelled(asyncio.create_task(in_thread(fail)), 1)
