"""Blocking work that may hang (a credential plugin): in a daemon thread, which holds up no exit."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedWork(Generic[T]):
    """Runs one function at a time; whoever asks meanwhile waits for the same result.

    A caller may be cancelled; the work then goes on, and its result is for the others, or nobody.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: asyncio.Future[tuple[T | None, Exception | None]] | None = None

    async def result(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises, or the one that is running already."""
        running = self._running
        if running is None:
            loop = asyncio.get_running_loop()
            self._running = running = loop.create_future()
            thread = threading.Thread(
                target=self._work, args=(work, loop, running), name=self._name, daemon=True
            )
            thread.start()
        value, error = await asyncio.shield(running)
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # None only with an error, or as T

    def _work(
        self,
        work: Callable[[], T],
        loop: asyncio.AbstractEventLoop,
        running: "asyncio.Future[tuple[T | None, Exception | None]]",
    ) -> None:
        try:
            outcome: tuple[T | None, Exception | None] = work(), None
        except Exception as error:
            outcome = None, error
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(self._done, running, outcome)

    def _done(
        self,
        running: "asyncio.Future[tuple[T | None, Exception | None]]",
        outcome: tuple[T | None, Exception | None],
    ) -> None:
        self._running = None
        if not running.done():
            running.set_result(outcome)
