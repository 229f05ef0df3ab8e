"""Wake-ups of watches: many changes may become one, none is ever lost."""

import asyncio
from collections.abc import Callable


class EventWakeups:
    """The wake-ups of one watch on its event loop; ``wake`` may be called from any thread."""

    def __init__(self, on_close: "Callable[[EventWakeups], None]") -> None:
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    async def wait(self, timeout: float | None) -> None:
        """Return at a wake-up since the last call, or after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()

    def wake(self) -> None:
        """Make the present or the next ``wait`` return."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    def close(self) -> None:
        """Be woken no more. Idempotent."""
        self._on_close(self)
