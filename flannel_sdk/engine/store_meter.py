"""How long a store's calls take, how many fail, and when it was heard last."""

import asyncio
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import TypeVar

from flannel_sdk.errors import FlannelError, StoreUnavailable
from flannel_sdk.instruments import STORE_SECONDS, Histogram
from flannel_sdk.interfaces import SubnetManager, SupportsLastHeard

T = TypeVar("T")


class StoreMeter:
    """Measures the calls that are made through it to one store."""

    def __init__(self, store: SubnetManager) -> None:
        self._store = store
        self._calls: dict[str, Histogram] = {}
        self._failures: dict[str, int] = {}
        self._heard_at: float | None = None

    async def measured(self, name: str, call: Awaitable[T]) -> T:
        """What ``call`` gives or raises; a cancelled one is not counted."""
        started = time.monotonic()
        try:
            result = await call
        except Exception as error:
            self._failures[name] = self._failures.get(name, 0) + 1
            if isinstance(error, FlannelError) and not isinstance(error, StoreUnavailable):
                self.heard()  # it answered, though not as we wished
            raise
        histogram = self._calls.setdefault(name, Histogram(STORE_SECONDS))
        histogram.observe(time.monotonic() - started)
        self.heard()
        return result

    def heard(self) -> None:
        """The store has told something just now."""
        self._heard_at = time.monotonic()

    async def keep_hearing(self, interval: float) -> None:
        """Until cancelled: ask a store that does not know itself whether its server is there.

        A read each ``interval`` seconds, which it may also last; none where
        ``SupportsLastHeard`` says as much for nothing.
        """
        store: object = self._store
        while not isinstance(store, SupportsLastHeard):
            await asyncio.sleep(interval)
            with suppress(Exception):  # it is counted; who else asks the store says it
                async with asyncio.timeout(interval):
                    await self.measured("get_network_config", self._store.get_network_config())

    @property
    def heard_at(self) -> float | None:
        """The newest sign of life, by CLOCK_MONOTONIC; None if there was none yet."""
        store: object = self._store
        told = store.last_heard() if isinstance(store, SupportsLastHeard) else None
        return max((time for time in (told, self._heard_at) if time is not None), default=None)

    def status(self) -> Mapping[str, object]:
        """JSON-ready: the calls' durations and failures by name, and the age of the last sign."""
        heard_at = self.heard_at
        return {
            "calls": {name: histogram.status() for name, histogram in self._calls.items()},
            "failures": dict(self._failures),
            "heard_seconds_ago": None if heard_at is None else time.monotonic() - heard_at,
        }
