"""A stopwatch that a busy machine does not fool: it stands while somebody waits for a CPU."""

import time
from pathlib import Path

_PRESSURE = Path("/proc/pressure/cpu")


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._began, self._waited = time.monotonic(), _waited()

    @property
    def waited(self) -> float:
        """Seconds since in which any task of this machine wanted a CPU and had none.

        0 where the kernel does not tell (no PSI): then all time counts.
        """
        return _waited() - self._waited

    @property
    def seconds(self) -> float:
        """Since, without what was waited."""
        return time.monotonic() - self._began - self.waited


def _waited() -> float:
    try:
        some = _PRESSURE.read_text().partition("\n")[0]
        return int(some.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):
        return 0.0
