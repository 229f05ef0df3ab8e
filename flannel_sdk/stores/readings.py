"""Reading a table again and again, whenever it may have changed: what all watches stand on."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Self, TypeVar

from flannel_sdk.errors import StoreUnavailable
from flannel_sdk.stores.table import Reader, Storage, Wakeups

log = logging.getLogger(__name__)
T = TypeVar("T")

_LONGEST_WAIT = 3600.0
"""Seconds after which an expiry is looked at again: the wall clock may have been set."""
_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 0.1, 5.0


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
        self._name = name
        self._wakeups: Wakeups | None = None
        self._has_read = False
        self._due: float | None = None
        self._failures = 0

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
                    await self._back_off(error)
            else:
                self._has_read = True
                self._failures = 0
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

    async def _back_off(self, error: StoreUnavailable) -> None:
        if not self._failures:
            log.warning("%s: a watch is interrupted, and tried again: %s", self._name, error)
        seconds = min(_FIRST_BACK_OFF * 2**self._failures, _LONGEST_BACK_OFF)
        self._failures = min(self._failures + 1, 16)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()
