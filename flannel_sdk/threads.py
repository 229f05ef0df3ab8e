"""Work in a thread that a cancel waits for: what it has made is known then, and can be freed."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], free: Callable[[T], None] | None = None) -> T:
    """What ``work`` gives, called in a thread of the loop's executor; short work only.

    A cancel is raised once the thread has ended, after ``free`` was called with its result:
    ``asyncio.to_thread`` would leave the thread at work and lose what it makes.
    """
    working = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        await until_done(working)
    except asyncio.CancelledError:
        if working.exception() is None and free is not None:
            free(working.result())
        raise
    return working.result()


async def until_done(work: "asyncio.Future[T]") -> None:
    """Wait for ``work``, which is short, also when cancelled; the cancel is raised then."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
