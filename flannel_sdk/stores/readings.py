"""Reading a table again and again, whenever it may have changed: what all watches stand on."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from flannel_sdk.backoff import Backoff, Trouble
from flannel_sdk.errors import StoreUnavailable
from flannel_sdk.stores.table import Reader, Storage, Wakeups

log = logging.getLogger(__name__)
T = TypeVar("T")

_LONGEST_WAIT = 3600.0
"""Seconds after which an expiry is looked at again: the wall clock may have been set."""


class Readings(Generic[T]):
    """What ``look`` gives now, and again after each change or expiry, until ``closed`` is set.

    Carries out expiries when their time comes. Heals StoreUnavailable with back-off; StoreCorrupt
    ends it. An iterator rather than a generator: ``close`` is synchronous, so that a watch that is
    abandoned ends cleanly at any await.
    """

    def __init__(
        self, storage: Storage, closed: asyncio.Event, look: Callable[[Reader], T], name: str
    ) -> None:
        self._storage = storage
        self._closed = closed
        self._look = look
        self._trouble = Trouble(log, f"watching {name}", Backoff(first=0.1, limit=5.0))
        self._wakeups: Wakeups | None = None
        self._has_read = False
        self._due: float | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._closed.is_set():
            try:
                if self._wakeups is None:
                    self._wakeups = await self._storage.subscribe()
                elif self._has_read:
                    self._has_read = False
                    await self._wait(self._wakeups)
                    continue
                found, self._due = await self._storage.read(
                    lambda table: (self._look(table), table.next_expiry())
                )
            except StoreUnavailable as error:
                self.close()
                if not self._closed.is_set():
                    await self._trouble.wait_out(error, self._closed)
            else:
                self._has_read = True
                self._trouble.over()
                return found
        raise StopAsyncIteration

    def close(self) -> None:
        """Hear of no more changes. Idempotent."""
        self._has_read = False
        if self._wakeups is not None:
            self._wakeups.close()
            self._wakeups = None

    async def _wait(self, wakeups: Wakeups) -> None:
        """Wait for a change, or for the next expiry, which is then carried out."""
        due = self._due
        if due is None:
            await wakeups.wait(None)
            return
        await wakeups.wait(min(max(due - time.time(), 0.0), _LONGEST_WAIT))
        if not self._closed.is_set() and time.time() >= due:
            await self._storage.write(lambda table: table.delete_expired(time.time()))
