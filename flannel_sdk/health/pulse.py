"""Notices when the event loop stood still."""

import asyncio
import logging
from collections.abc import Mapping

from flannel_sdk.instruments import STORE_SECONDS, Histogram

_log = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds."""
LONG = 2.0
"""A delay in seconds that is worth a line in the log."""


class Pulse:
    """How late the loop wakes up who sleeps: what a stuck loop shows once it goes on."""

    def __init__(self) -> None:
        self._delays = Histogram(STORE_SECONDS)
        self._longest = 0.0

    async def beat(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT
            await asyncio.sleep(BEAT)
            delay = max(0.0, loop.time() - due)
            self._delays.observe(delay)
            self._longest = max(self._longest, delay)
            if delay > LONG:
                _log.warning("the event loop stood still for %.1f s", delay)

    def status(self) -> Mapping[str, object]:
        """JSON-ready, in seconds."""
        return {"delays": self._delays.status(), "longest_seconds": self._longest}
