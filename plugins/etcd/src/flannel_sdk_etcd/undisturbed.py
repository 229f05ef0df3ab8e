"""Work that a cancelled caller still waits for, so that it is not left half done."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

GRACE_SECONDS = 2.0
"""That a cancelled caller waits before the work is cancelled too."""


async def undisturbed(work: Coroutine[object, object, T], grace: float = GRACE_SECONDS) -> T:
    """The result of ``work``. A cancellation of the caller comes when the work has ended."""
    task = asyncio.create_task(work, name=f"undisturbed {getattr(work, '__qualname__', work)}")
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await _end(task, grace)
        raise
    return task.result()


async def _end(task: "asyncio.Task[T]", grace: float) -> None:
    timeout: float | None = grace
    while not task.done():
        with suppress(asyncio.CancelledError):  # the caller raises the first one
            await asyncio.wait([task], timeout=timeout)
            if not task.done():
                task.cancel()
                timeout = None
    if not task.cancelled():
        task.exception()  # nobody else asks for it, and asyncio would complain
