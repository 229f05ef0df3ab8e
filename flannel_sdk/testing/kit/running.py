"""Running a test's coroutine to its end, whatever a plugin leaves behind."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from flannel_sdk.testing.kit.verdicts import Broken

T = TypeVar("T")
_PATIENCE = 5.0
"""Seconds that tasks have to end once they are cancelled, and threads to become idle."""
_abandoned: list[object] = []
"""What did not end: kept, so that its destruction disturbs no other test."""


def play(
    work: Coroutine[object, object, T],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> T:
    """Like ``asyncio.run``, which would wait for ever for a task that ignores its cancellation.

    Broken if a task or a thread of the loop's executor goes on at the end.
    """
    loop = loop_factory()
    executor = ThreadPoolExecutor(thread_name_prefix="asyncio_")
    loop.set_default_executor(executor)
    try:
        try:
            result = loop.run_until_complete(work)
        finally:
            stubborn = loop.run_until_complete(_end_tasks())
        if stubborn:
            raise Broken(f"a task goes on although it was cancelled: {stubborn[0].get_coro()!r}")
        return result
    finally:
        if not _ended(executor):
            _abandoned.append(executor)
        loop.close()


async def _end_tasks() -> list["asyncio.Task[object]"]:
    """Cancel all tasks but this one, and end the generators; gives tasks that go on."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    done, stubborn = await asyncio.wait(others, timeout=_PATIENCE) if others else (set(), set())
    for task in done:
        if not task.cancelled():
            task.exception()  # whoever waited for it has been told
    for task in stubborn:
        _abandoned.append(task)
    if not stubborn:
        await asyncio.get_running_loop().shutdown_asyncgens()
    return list(stubborn)


def _ended(executor: ThreadPoolExecutor) -> bool:
    waiting = threading.Thread(target=executor.shutdown, daemon=True)
    waiting.start()
    waiting.join(_PATIENCE)
    return not waiting.is_alive()
