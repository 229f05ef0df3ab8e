"""Wake-ups of one watch: none lost, many may be one, from any thread, and none after the loop."""

import asyncio
import threading

from flannel_sdk.stores.wakeups import EventWakeups


def made(closed: list[EventWakeups] | None = None) -> EventWakeups:
    return EventWakeups(([] if closed is None else closed).append)


async def is_woken(wakeups: EventWakeups) -> bool:
    """True if a wait ends before its time, which is short."""
    waiting = asyncio.ensure_future(wakeups.wait(None))
    done, _ = await asyncio.wait([waiting], timeout=0.02)
    waiting.cancel()
    return bool(done)


async def test_wake_ups_before_a_wait_are_not_lost_and_become_one() -> None:
    wakeups = made()
    for _ in range(3):
        wakeups.wake()
    async with asyncio.timeout(2):
        await wakeups.wait(None)
    assert not await is_woken(wakeups)


async def test_a_thread_wakes_a_wait_that_is_under_way() -> None:
    asyncio.get_running_loop().set_debug(True)  # refuses what is not safe between threads
    wakeups = made()
    waiting = asyncio.ensure_future(wakeups.wait(None))
    await asyncio.sleep(0)
    thread = threading.Thread(target=wakeups.wake)
    thread.start()
    async with asyncio.timeout(2):
        await waiting
    thread.join()


async def test_a_wait_ends_after_its_time_without_an_error() -> None:
    async with asyncio.timeout(2):
        await made().wait(0.001)


async def test_closing_is_told() -> None:
    closed: list[EventWakeups] = []
    wakeups = made(closed)
    wakeups.close()
    assert closed == [wakeups]


def test_waking_the_watch_of_a_loop_that_has_ended_does_nothing() -> None:
    wakeups = asyncio.run(_made())
    wakeups.wake()


async def _made() -> EventWakeups:
    return made()
