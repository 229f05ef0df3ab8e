"""Real etcd servers on loopback: one or three members to start, kill, pause and restart."""

import contextlib
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

from flannel_sdk_etcd.server_program import find_server

from flannel_sdk.testing.namespaces import Namespace
from plugins.etcd.tests.certificates import ClientFiles, ServerFiles
from plugins.etcd.tests.control import Control, Refused

_FOLDER = "flannel-sdk-etcd-"
_START_SECONDS = 30.0
_ATTEMPTS = 5
# Dies with the process that started it, also if that died before this line.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class PortTaken(Exception):
    """Somebody else listens on the port that a member was to have."""


@functools.cache
def program() -> Path:
    """The etcd that the tests use. ConfigError that says how to get one: never a skip."""
    return find_server(os.environ)


@functools.cache
def version(server: Path | None = None) -> tuple[int, int, int]:
    """The version of a program, ours if none is given."""
    text = _output(server or program(), "--version")
    major, minor, patch = text.splitlines()[0].split()[-1].split(".")
    return int(major), int(minor), int(patch.partition("-")[0].partition("+")[0])


@functools.cache
def knows(server: Path, flag: str) -> bool:
    """Whether a program has a flag: they come and go with versions."""
    return flag in _output(server, "--help")


@functools.cache
def _output(server: Path, argument: str) -> str:
    done = subprocess.run(
        [server, argument], capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr


def remove_orphans() -> None:
    """Remove the folders of test processes that died; their servers died with them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        owner = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


class Claim(NamedTuple):
    """A port that no other test process will choose while ``held`` is open."""

    number: int
    held: socket.socket


def claim_port() -> Claim:
    """A port that is free on loopback, below the range that outgoing connections use."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for number in random.sample(range(10_000, max(lowest, 20_000)), 200):
        # An abstract address is of one network namespace, as ports are, and ends with its owner.
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            held.bind(f"\0flannel-sdk-etcd-port-{number}")
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind(("127.0.0.1", number))
        except OSError:
            held.close()
        else:
            return Claim(number, held)
    raise AssertionError("no free port on loopback")


@dataclass(frozen=True)
class Setup:
    """How the members of a cluster are run."""

    members: int = 1
    tls: ServerFiles | None = None
    """What the members show to clients; None: plain HTTP."""
    client_ca: Path | None = None
    """The CA that clients' certificates must be of; None: they need none."""
    control: ClientFiles | None = None
    """What the tests' own control connection shows where TLS is used."""
    flags: tuple[str, ...] = ()
    """More of etcd's flags."""
    host: str = "127.0.0.1"
    """Name or address in the client URLs; IPv6 without brackets."""
    control_host: str = ""
    """What the tests' own control connection calls the members, if not ``host``."""
    namespace: Namespace | None = None
    """Where the members run; None: here."""
    server: Path = field(default_factory=program)


class Member:
    """One etcd process and its data."""

    def __init__(self, name: str, folder: Path, setup: Setup) -> None:
        self.name = name
        self._folder = folder
        self._setup = setup
        inside = setup.namespace
        self._ports = [inside.call(claim_port) if inside else claim_port() for _ in range(2)]
        self._process: subprocess.Popen[bytes] | None = None
        self._arguments: list[str] = []
        host = f"[{setup.host}]" if ":" in setup.host else setup.host
        scheme = "https" if setup.tls else "http"
        self.address = f"{host}:{self._ports[0].number}"
        self.url = f"{scheme}://{self.address}"
        self.port = self._ports[0].number
        self.peer_url = f"http://127.0.0.1:{self._ports[1].number}"
        called = setup.control_host or setup.host
        self.control = Control(called, self.port, setup.control, setup.namespace)

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def data(self) -> Path:
        """Where it keeps its data."""
        return self._folder / self.name

    def log(self, lines: int = 10) -> str:
        """The end of what it wrote, in all its lives."""
        path = self._folder / f"{self.name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    def start(self, initial_cluster: str = "") -> None:
        """Start the process, again if it has run: with its data. Returns before it serves."""
        assert not self.running, f"{self.name} runs already"
        self._arguments = self._arguments or self._command(initial_cluster)
        into = self._setup.namespace
        enter = ["ip", "netns", "exec", into.name] if into else []
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
        command = [*enter, *self._arguments]
        command[0] = shutil.which(command[0]) or command[0]
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*launch, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_healthy(self, seconds: float = _START_SECONDS) -> None:
        """Return when it has a leader and serves; AssertionError with its log, PortTaken."""
        deadline = time.monotonic() + seconds
        while True:
            if "address already in use" in self.log(50):
                raise PortTaken(self.name)
            if not self.running:
                raise AssertionError(f"etcd {self.name} ended:\n{self.log()}")
            with contextlib.suppress(OSError, Refused):
                if self.control.healthy():
                    return
            if time.monotonic() > deadline:
                raise AssertionError(f"etcd {self.name} is not healthy:\n{self.log()}")
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone. Fine if it is."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM; returns when it is gone, killed after 15 s."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: its connections stay, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Start it again with its data, and wait until it serves."""
        self.kill()
        self.start()
        self.wait_healthy()

    def release(self) -> None:
        """Kill it and give its ports back."""
        self.kill()
        for port in self._ports:
            port.held.close()

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(15)

    def _command(self, initial_cluster: str) -> list[str]:
        setup = self._setup
        options = {
            "name": self.name,
            "data-dir": str(self.data),
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": initial_cluster,
            "initial-cluster-token": self._folder.name,
            # ten times faster than the defaults would notice a dead leader; shorter ones make a
            # loaded machine change leaders all the time
            "heartbeat-interval": "50",
            "election-timeout": "500",
            "logger": "zap",
            "log-outputs": "stderr",
            "log-level": "warn",
        }
        if setup.tls:
            options |= {"cert-file": str(setup.tls.cert), "key-file": str(setup.tls.key)}
        if setup.client_ca:
            options |= {"client-cert-auth": "true", "trusted-ca-file": str(setup.client_ca)}
        if knows(setup.server, "--unsafe-no-fsync"):
            options["unsafe-no-fsync"] = "true"
        return [str(setup.server), *(f"--{k}={v}" for k, v in options.items()), *setup.flags]


class Cluster:
    """One or three members with a folder of their own."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        self.members = [Member(f"m{n}", self._folder, setup) for n in range(setup.members)]

    @property
    def urls(self) -> tuple[str, ...]:
        """The endpoints of all members."""
        return tuple(member.url for member in self.members)

    @property
    def member(self) -> Member:
        """The first member, of most clusters the only one."""
        return self.members[0]

    @property
    def control(self) -> Control:
        """The control connection to the first member that runs."""
        return next((m for m in self.members if m.running), self.member).control

    def start(self) -> None:
        """Start all members and wait until they serve."""
        initial = ",".join(f"{m.name}={m.peer_url}" for m in self.members)
        for member in self.members:
            member.start(initial)
        for member in self.members:
            member.wait_healthy()

    def leader(self) -> Member:
        """The member that leads."""
        for member in self.members:
            if member.running and member.control.leads():
                return member
        raise AssertionError("the cluster has no leader")

    def release(self) -> None:
        """Kill the members, remove their data."""
        for member in self.members:
            member.release()
        shutil.rmtree(self._folder, ignore_errors=True)


def start_cluster(setup: Setup) -> Cluster:
    """A fresh cluster that serves; on other ports if somebody took one in between."""
    for _ in range(_ATTEMPTS):
        cluster = Cluster(setup)
        try:
            cluster.start()
        except PortTaken:
            cluster.release()
        except BaseException:
            cluster.release()
            raise
        else:
            return cluster
    raise AssertionError(f"no free ports for etcd in {_ATTEMPTS} attempts")


StartEtcd: TypeAlias = Callable[[Setup], Cluster]
"""A fresh cluster that serves, and ends with the test."""
