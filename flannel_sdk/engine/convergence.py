"""How long the store's news takes until it holds in the kernel."""

import asyncio
import time
from collections.abc import Mapping

from flannel_sdk.instruments import STORE_SECONDS, Histogram


class Convergence:
    """Times from the arrival of raw bytes until every reader of a feed has them in the kernel."""

    def __init__(self) -> None:
        self._oldest: float | None = None
        self._first: tuple[float, float] | None = None
        self._last: float | None = None
        self._longest = 0.0
        self._count = 0
        self._durations = Histogram(STORE_SECONDS)
        self.reached = asyncio.Event()
        """Set when news held in the kernel for the first time."""

    def told(self, received_at: float) -> None:
        """News that readers do not hold yet arrived at ``received_at`` (monotonic; 0 means now)."""
        if self._oldest is None:
            self._oldest = received_at or time.monotonic()

    def settled(self) -> None:
        """All news told so far holds in the kernel."""
        if self._oldest is None:
            return
        now = time.monotonic()
        if self._first is None:
            self._first = (self._oldest, now)
        self._last = now - self._oldest
        self._longest = max(self._longest, self._last)
        self._count += 1
        self._durations.observe(self._last)
        self._oldest = None
        self.reached.set()

    def status(self) -> Mapping[str, object]:
        """JSON-ready, in seconds; ``first`` holds two points of CLOCK_MONOTONIC."""
        return {
            "first": list(self._first) if self._first else None,
            "last_seconds": self._last,
            "longest_seconds": self._longest,
            "count": self._count,
            "durations": self._durations.status(),
        }
