"""What systemd is told of a daemon (sd_notify(3)): ready, stopping, alive."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

_log = logging.getLogger(__name__)


class ServiceManager:
    """The service manager that the environment names; where it names none, nothing is told."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = _watchdog_seconds(environ)

    def tell(self, *facts: str) -> None:
        """Send assignments such as ``READY=1``; a manager that is gone is no reason to fail."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(facts).encode(), self._address)
        except OSError as error:
            _log.warning("the service manager is not told %s: %s", facts[0], error.strerror)

    async def keep_alive(self) -> None:
        """Tell it, if it asked for that, that the event loop turns; until cancelled."""
        while self._watchdog is not None:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog / 3)


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """How long it waits for a sign of life; None where it waits for none of this process."""
    text, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not text.isdecimal() or int(text) == 0 or pid not in {"", str(os.getpid())}:
        return None
    return int(text) / 1e6
