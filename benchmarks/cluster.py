"""A node in a namespace of its own, its daemon, and a store full of synthetic vxlan peers."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flannel_sdk.agent.status_client import ask
from flannel_sdk.errors import FlannelError

UNDERLAY = 0xAC100000  # 172.16.0.0/12: only ever inside the namespace
OVERLAY = 0x0A000000  # 10.0.0.0/8


def _dotted(value: int) -> str:
    return socket.inet_ntoa(value.to_bytes(4, "big"))


def peer_subnet_bytes(number: int) -> bytes:
    """Base address of peer ``number``'s /24; peers count from 1."""
    return (OVERLAY + (number + 1 << 8)).to_bytes(4, "big")


def peer_mac(number: int, generation: int = 0) -> bytes:
    """The VTEP MAC that a peer publishes; another one in each of 65,536 generations."""
    return (
        bytes([2, number >> 16 & 0xFF])
        + (number & 0xFFFF).to_bytes(2, "big")
        + (generation & 0xFFFF).to_bytes(2, "big")
    )


def peer_entry(number: int, generation: int = 0) -> tuple[str, bytes]:
    """The store's key and value of one peer, as flannel writes them."""
    value = {
        "PublicIP": _dotted(UNDERLAY + 1 + number),
        "PublicIPv6": None,
        "BackendType": "vxlan",
        "BackendData": {"VNI": 1, "VtepMAC": peer_mac(number, generation).hex(":")},
    }
    subnet = socket.inet_ntoa(peer_subnet_bytes(number))
    return f"{subnet}-24", json.dumps(value, separators=(",", ":")).encode()


class PeerTable:
    """The sqlite store's table, written as another process's plain SQL would."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)

    def fill(self, count: int) -> None:
        """Insert peers 1 to ``count`` in one transaction."""
        self._write(
            "INSERT INTO leases (key, value, expires) VALUES (?, ?, ?)",
            ((*peer_entry(number), time.time() + 86400) for number in range(1, count + 1)),
        )

    def put(self, number: int, generation: int) -> None:
        """Insert or change one peer."""
        self._write(
            "INSERT INTO leases (key, value, expires) VALUES (?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [(*peer_entry(number, generation), time.time() + 86400)],
        )

    def delete(self, number: int) -> None:
        """Delete one peer."""
        self._write("DELETE FROM leases WHERE key = ?", [(peer_entry(number)[0],)])

    def _write(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(statement, rows)
        self._connection.execute("COMMIT")
        os.utime(self._path)

    def close(self) -> None:
        """Free the connection."""
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Node:
    """One namespace with an underlay interface, and where its daemon's files are."""

    netns: str
    folder: Path

    @property
    def store(self) -> Path:
        """The store file."""
        return self.folder / "net.db"

    def ip(self, command: str) -> None:
        """Run one ``ip`` command inside."""
        subprocess.run(["ip", "-n", self.netns, *command.split()], check=True)

    def daemon_arguments(self) -> list[str]:
        """The command line of this node's daemon."""
        return [
            *("ip", "netns", "exec", self.netns, sys.executable, "-m", "flannel_sdk.cli", "daemon"),
            *("--store", "sqlite", "--store-option", f"path={self.store}"),
            *("--iface", "eth0", "--subnet-file", str(self.folder / "subnet.env")),
            *("--status-socket", str(self.folder / "agent.sock")),
        ]


@contextmanager
def fresh_node(folder: Path) -> Iterator[Node]:
    """A namespace with ``eth0`` up; removed at the end, also after a failure."""
    node = Node(f"flt-bench-{os.getpid()}", folder)
    subprocess.run(["ip", "netns", "add", node.netns], check=True)
    try:
        node.ip("link set lo up")
        node.ip("link add eth0 type veth peer name wire")
        node.ip(f"addr add {_dotted(UNDERLAY + 1)}/12 dev eth0")
        node.ip("link set eth0 up")
        node.ip("link set wire up")
        yield node
    finally:
        subprocess.run(["ip", "netns", "del", node.netns], check=False)


class Daemon:
    """One run of a node's daemon, from its start to its end."""

    def __init__(self, node: Node) -> None:
        self._socket = node.folder / "agent.sock"
        self._log = (node.folder / "daemon.log").open("ab")
        self.started_at = time.monotonic()
        self._process = subprocess.Popen(
            node.daemon_arguments(), stdout=self._log, stderr=self._log
        )

    def status(self) -> dict[str, Any]:
        """The daemon's status; FlannelError if it does not answer."""
        answer = ask(self._socket, "status")
        assert isinstance(answer, dict)
        return answer

    def wait_settled(self, peers: int, seconds: float = 120.0) -> dict[str, Any]:
        """The first status with all peers in the kernel and nothing left to write."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the daemon ended: see {self._log.name}")
            with suppress(FlannelError):
                status = self.status()
                feed = status["feed"]
                if feed and feed["settled"] and feed["peers"] == peers:
                    return status
            time.sleep(0.2)
        raise TimeoutError(f"the daemon did not settle within {seconds} s: see {self._log.name}")

    def peak_rss(self) -> float:
        """The most memory that was ever resident, in MiB."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self) -> None:
        """End it as an operator does."""
        self._process.terminate()
        self._process.wait(10)
        self._log.close()
