"""Processes by identity: pid and start time together, so that a reused pid is never signalled."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flannel_sdk.lab.names import OWNED_VARIABLE, netns_path

_STATE_FIELD, _START_FIELD = 0, 19
"""Positions in /proc/PID/stat after the parenthesis that ends the command's name."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process of this boot; compares equal to no other, also when the pid is used again."""

    pid: int
    start: int
    """Start time since boot, in the kernel's clock ticks."""

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """The process that has this pid now; None if it ended, a zombie counting as ended."""
        try:
            text = Path("/proc", str(pid), "stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = text.rpartition(")")[2].split()
        return None if fields[_STATE_FIELD] in "ZX" else cls(pid, int(fields[_START_FIELD]))

    @property
    def alive(self) -> bool:
        """True until this very process has ended."""
        return ProcessId.of(self.pid) == self

    def kill(self, number: signal.Signals) -> bool:
        """Send a signal; False if the process had ended. Race-free where pidfds exist."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    async def wait(self) -> None:
        """Return once the process has ended (perhaps not yet reaped by its parent)."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        try:
            if self.alive:
                loop.add_reader(descriptor, ended.set)
                await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)


def spawn_detached(
    argv: Sequence[str], netns: str, log: Path, lab_directory: Path
) -> "subprocess.Popen[bytes]":
    """Start ``argv`` in ``netns``, apart from our session, its output appended to ``log``.

    It carries the mark of the lab in ``lab_directory``, and none of flanneld's variables, for a lab
    is what its spec says.
    """
    inherited = {k: text for k, text in os.environ.items() if not k.startswith("FLANNELD_")}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            ["ip", "netns", "exec", netns, *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env={**inherited, OWNED_VARIABLE: ownership_mark(lab_directory)},
        )


async def terminate(processes: Iterable[ProcessId], patience: float = 2.0) -> list[ProcessId]:
    """SIGTERM to all, SIGKILL to those alive after ``patience`` seconds; returns the killed."""
    waiting = [process for process in processes if process.kill(signal.SIGTERM)]
    stubborn = await _outlive(waiting, patience)
    for process in stubborn:
        process.kill(signal.SIGKILL)
    await _outlive(stubborn, patience)
    return stubborn


async def _outlive(processes: list[ProcessId], seconds: float) -> list[ProcessId]:
    """Wait until all have ended or the time is over; those still alive."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for process in processes:
                group.create_task(process.wait())
    return [process for process in processes if process.alive]


def processes_inside(namespaces: Iterable[str]) -> list[ProcessId]:
    """All processes whose main thread is in one of these network namespaces, ourselves excepted."""
    inodes = set()
    for name in namespaces:
        with suppress(FileNotFoundError):
            status = os.stat(netns_path(name))
            inodes.add((status.st_dev, status.st_ino))
    return [process for process in _all() if _net_inode(process.pid) in inodes]


def ownership_mark(directory: Path) -> str:
    """Tells apart the labs of this machine; two may use one path in different user namespaces."""
    return f"{directory}@{os.stat('/proc/self/ns/user').st_ino}"


def processes_marked(variable: str, mark: str) -> list[ProcessId]:
    """All processes with this in their environment, wherever they are, ourselves excepted."""
    wanted = f"{variable}={mark}".encode()
    return [process for process in _all() if wanted in _environment(process.pid)]


def _all() -> Iterator[ProcessId]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            process = ProcessId.of(int(entry))
            if process is not None:
                yield process


def _net_inode(pid: int) -> tuple[int, int] | None:
    try:
        status = os.stat(f"/proc/{pid}/ns/net")
    except OSError:  # ended meanwhile, or not ours to look into
        return None
    return status.st_dev, status.st_ino


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
