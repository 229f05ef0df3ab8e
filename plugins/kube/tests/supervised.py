"""A server process that a test can kill, pause and start again, below one child of the tests'."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SUPERVISOR = Path(__file__).with_name("supervisor.py")


class Supervised:
    """One program with fixed arguments, not started yet. It dies with the tests' process."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        self._log = log
        # no attribute of the process that tests may restart: the same child in all its lives
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", _SUPERVISOR, str(os.getpid()), log, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._pid = 0

    @property
    def pid(self) -> int:
        """The process id in this life."""
        assert self._pid, "it was not started"
        return self._pid

    @property
    def running(self) -> bool:
        return self._ask("poll") == "running"

    def log(self, lines: int = 10) -> str:
        """The end of what it wrote, in all its lives."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def start(self) -> None:
        """Start it; returns before it serves."""
        assert not self.running, "it runs already"
        self._pid = int(self._ask("start"))

    def kill(self) -> None:
        """SIGKILL; returns when it is gone. Fine if it is."""
        self._ask("end")

    def pause(self) -> None:
        """SIGSTOP: its connections stay, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT; fine if it was not paused."""
        os.kill(self.pid, signal.SIGCONT)

    def release(self) -> None:
        """Kill it for good."""
        assert self._supervisor.stdin is not None
        assert self._supervisor.stdout is not None
        self._supervisor.stdin.close()
        self._supervisor.wait(15)
        self._supervisor.stdout.close()

    def _ask(self, command: str) -> str:
        assert self._supervisor.stdin is not None
        assert self._supervisor.stdout is not None
        self._supervisor.stdin.write(f"{command}\n")
        self._supervisor.stdin.flush()
        return self._supervisor.stdout.readline().strip()
