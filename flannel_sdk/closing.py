"""Ending what waits for a store when the store is closed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


class Closing:
    """Whether a store is closed, and the watches that end with it; for one event loop."""

    def __init__(self) -> None:
        self.is_closed = False
        self._waits: set[asyncio.Timeout] = set()

    def close(self) -> None:
        """End every stream of ``until_closed``. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        for wait in self._waits:
            wait.reschedule(0.0)

    async def until_closed(self, source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """The items of ``source``, which is closed at the end."""
        async with aclosing(source):
            while not self.is_closed:
                wait = asyncio.timeout(None)
                try:
                    async with wait:
                        self._waits.add(wait)
                        item = await anext(source)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if wait.expired():
                        return
                    raise
                finally:
                    self._waits.discard(wait)
                yield item
