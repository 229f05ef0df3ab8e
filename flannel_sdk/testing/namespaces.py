"""Network namespaces for tests: made fresh, named ``flt-...``, removed again also after a crash."""

import itertools
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from flannel_sdk.netns import run_in_netns

T = TypeVar("T")
PREFIX = "flt-"
_DIRECTORY = Path("/run/netns")
_numbers = itertools.count(1)


class Namespace:
    """One network namespace with its loopback up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = str(_DIRECTORY / name)
        """What ``LinuxKernel(netns=...)`` and ``BackendContext.netns`` take."""

    def ip(self, command: str) -> str:
        """Run ``ip COMMAND`` in here; its output. AssertionError with its words if it fails."""
        return run(f"ip -n {self.name} {command}")

    def bridge(self, command: str) -> str:
        """Run ``bridge COMMAND`` in here; its output."""
        return run(f"bridge -n {self.name} {command}")

    def ip_batch(self, commands: Iterable[str]) -> None:
        """Run many ``ip`` commands in one process."""
        run(f"ip -n {self.name} -batch -", "\n".join(commands))

    def exec(self, command: str) -> str:
        """Run any command in here; its output."""
        return run(f"ip netns exec {self.name} {command}")

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in a thread of its own that is in here (sockets it opens stay in here)."""
        return run_in_netns(self.path, function)

    def add_veth(self, name: str, *addresses: str, peer: str | None = None) -> None:
        """A veth device that is up, with addresses; its other end ``peer`` stays here too."""
        other = peer or f"{name}-peer"
        self.ip(f"link add {name} type veth peer name {other}")
        for address in addresses:
            self.ip(f"address add {address} dev {name}" + (" nodad" if ":" in address else ""))
        self.ip(f"link set {other} up")
        self.ip(f"link set {name} up")


def run(command: str, text: str | None = None) -> str:
    """Run a command with ``text`` as its input; AssertionError with its words if it fails."""
    done = subprocess.run(
        command.split(), input=text, capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def create(label: str = "n") -> Namespace:
    """A fresh namespace; its name holds our process id, so that leftovers can be told."""
    namespace = Namespace(f"{PREFIX}{os.getpid()}-{next(_numbers)}-{label}")
    run(f"ip netns add {namespace.name}")
    namespace.ip("link set lo up")
    return namespace


def delete(namespace: Namespace) -> None:
    """Remove a namespace; fine if it is gone."""
    if Path(namespace.path).exists():
        run(f"ip netns delete {namespace.name}")


@contextmanager
def namespace(label: str = "n") -> Iterator[Namespace]:
    """A fresh namespace that is removed at the end."""
    made = create(label)
    try:
        yield made
    finally:
        delete(made)


def own_namespaces() -> set[str]:
    """Names of the namespaces that this process made and that are there."""
    if not _DIRECTORY.is_dir():
        return set()
    mark = f"{PREFIX}{os.getpid()}-"
    return {path.name for path in _DIRECTORY.iterdir() if path.name.startswith(mark)}


def remove_orphans() -> None:
    """Remove the namespaces of test processes that died without doing it."""
    if not _DIRECTORY.is_dir():
        return
    for path in _DIRECTORY.iterdir():
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if path.name.startswith(PREFIX) and owner.isdigit() and not Path(f"/proc/{owner}").exists():
            delete(Namespace(path.name))


def missing_right() -> str | None:
    """Why no namespace can be made here, found by making one; None if it works."""
    try:
        with namespace("probe"):
            return None
    except (AssertionError, OSError) as error:
        return f"network namespaces cannot be made here: {error}"
