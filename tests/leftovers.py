"""What a test can leave behind in its process, and words that say whose it is."""

import os
import socket
import stat
import threading
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple, Self

from flannel_sdk.testing import namespaces

# Of /proc/net/tcp.
_TCP_STATES = (
    *("unknown", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT"),
    *("CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"),
)
_NOBODYS = ("/dev/", "/proc/", "anon_inode:", "/etc/ld.so")


class Possessions(NamedTuple):
    """What this process has at one moment."""

    descriptors: dict[str, str]
    """What each refers to, by number."""
    children: set[str]
    threads: set[threading.Thread]
    spaces: set[str]
    """Names of its network namespaces."""

    @classmethod
    def now(cls) -> Self:
        """A reading."""
        return cls(_descriptors(), _children(), _threads(), namespaces.own_namespaces())

    def left(self) -> list[str]:
        """A phrase for each thing that has come since this reading."""
        now = self.now()
        found = [
            f"descriptor {number} -> {target}{_described(int(number), target)}"
            for number, target in now.descriptors.items()
            if self.descriptors.get(number) != target
        ]
        found += [f"child process {pid}" for pid in now.children - self.children]
        found += [f"thread {thread.name}" for thread in now.threads - self.threads]
        found += [f"namespace {name}" for name in now.spaces - self.spaces]
        return found


def _descriptors() -> dict[str, str]:
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            target = os.readlink(f"/proc/self/fd/{number}")
            if not target.startswith(_NOBODYS):
                found[number] = target
    return found


def _children() -> set[str]:
    found: set[str] = set()
    for task in os.listdir("/proc/self/task"):
        with suppress(FileNotFoundError):
            found.update(Path(f"/proc/self/task/{task}/children").read_text().split())
    return found


def _threads() -> set[threading.Thread]:
    # the default executor's threads belong to the event loop, which ends after the test
    return {
        thread
        for thread in threading.enumerate()
        if not thread.name.startswith(("asyncio_", "ThreadPool"))
    }


def _described(number: int, target: str) -> str:
    """Of a socket, its kind, addresses and state: enough to see whose it is."""
    with suppress(OSError):
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            with closing(socket.socket(fileno=os.dup(number))) as found:
                return f" ({', '.join(_properties(found))})"
    return ""


def _properties(found: socket.socket) -> Iterable[str]:
    yield f"{found.family.name} {found.type.name}"
    with suppress(OSError):
        yield f"at {found.getsockname()}"
    with suppress(OSError):
        yield f"to {found.getpeername()}"
    with suppress(OSError):
        if found.family in {socket.AF_INET, socket.AF_INET6} and found.type is socket.SOCK_STREAM:
            state = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            yield _TCP_STATES[state] if state < len(_TCP_STATES) else f"state {state}"
