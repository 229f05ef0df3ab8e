"""A cluster of our daemons and real flanneld nodes: namespaces around one etcd."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path
from signal import Signals
from subprocess import Popen

from flannel_sdk.lab import LabSpec
from flannel_sdk.lab.cleanup import clean_up
from flannel_sdk.lab.daemon import spawn_daemon, wait_running, wait_subnet_file
from flannel_sdk.lab.names import UNDERLAY_LINK, LabNames, netns_path
from flannel_sdk.lab.node_files import NodeFiles, SubnetFile
from flannel_sdk.lab.ping import Matrix, Pod, ping_all
from flannel_sdk.lab.processes import ProcessId
from flannel_sdk.lab.state import claim_directory
from flannel_sdk.lab.status_client import ask_daemon
from flannel_sdk.lab.topology import attach_pod, make_nodes, make_underlay, remove_namespaces
from flannel_sdk.model import Prefix
from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests import servers
from plugins.etcd.tests.control import Stored
from plugins.etcd.tests.servers import Cluster, Setup

PREFIX = "/coreos.com/network"
SUBNETS = f"{PREFIX}/subnets/"
READY_SECONDS = 20.0
PATIENCE = 20.0
"""Seconds; flanneld waits for up to 5 s between attempts to watch again."""


FOLLOWS_SINCE = 0, 20
"""Older flannelds take only the first event of an answer and watch again from then on, not from
where they were: they know for sure only what was there when they started. With two families they
also are out of subnets once the first IPv6 subnet is taken."""
_PATIENCE_WITH_OLD = 2.0


class Kind(Enum):
    """Whose daemon a node runs."""

    OURS = "flannel-sdk"
    FLANNELD = "flanneld"

    @property
    def other(self) -> "Kind":
        return Kind.FLANNELD if self is Kind.OURS else Kind.OURS


class MixedNode:
    """One node: two namespaces and a daemon of either kind."""

    def __init__(self, number: int, files: NodeFiles, netns: Namespace) -> None:
        self.number, self.files, self.netns = number, files, netns
        self.kind = Kind.OURS
        self.pod_addresses: list[Prefix] = []
        self.mtu = 0
        self.process: Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def has(self, device: str) -> bool:
        """Whether it has such a device."""
        return f" {device}: " in self.netns.ip("-o link show")

    def routes(self) -> set[str]:
        """Destinations of its routes in the main tables."""
        found = set()
        for family in ("-4", "-6"):
            found |= {line.split()[0] for line in self.netns.ip(f"{family} route").splitlines()}
        return found


class MixedCluster:
    """Made by ``mixed_cluster``; the nodes are numbered from 1."""

    def __init__(
        self, names: LabNames, spec: LabSpec, directory: Path, flanneld: Path, etcd: Cluster
    ) -> None:
        self.names, self.spec, self.directory, self.etcd = names, spec, directory, etcd
        self.nodes: dict[int, MixedNode] = {}
        self._flanneld = flanneld
        self._follows = flanneld_version(flanneld) >= FOLLOWS_SINCE
        self._endpoint = etcd.member.url

    async def join(self, kinds: Mapping[int, Kind]) -> None:
        """New nodes, with their daemons, one after the other."""
        await make_nodes(self.names, self.spec, list(kinds))
        for number, kind in kinds.items():
            netns = Namespace(self.names.node(number))
            self.nodes[number] = MixedNode(number, NodeFiles(self.directory, number), netns)
            await self.start(number, kind)

    async def leave(self, number: int) -> None:
        """The node is gone at once; its lease stays."""
        node = self.nodes.pop(number)
        if node.running:
            self.end(node, Signals.SIGKILL)
        await remove_namespaces([self.names.node(number), self.names.pod(number)])

    async def start(self, number: int, kind: Kind | None = None) -> None:
        """Start a node's daemon, wait until it is ready, wire its pod where that is needed."""
        node = self.nodes[number]
        assert not node.running
        if kind is Kind.FLANNELD is not node.kind and node.has("flannel0"):
            # What udp's kernel path left there hears those alone that were peers then; its README
            # says how a node is left to flanneld.
            node.netns.ip("link del flannel0")
        node.kind = kind or node.kind
        before = _stamp(node.files.subnet_file)
        command = self._our_command if node.kind is Kind.OURS else self._flanneld_command
        node.process = spawn_daemon(command(node.files), self.names.node(number), node.files)
        process = ProcessId.of(node.process.pid)
        assert process is not None
        if node.kind is Kind.OURS:
            await wait_running(process, node.files, READY_SECONDS)
        else:
            await eventually(
                lambda: not node.running or _stamp(node.files.subnet_file) != before,
                f"node {number} writes {node.files.subnet_file}",
                READY_SECONDS,
            )
            assert node.running, f"flanneld ended:\n{node.files.log_tail(20)}"
        found = await wait_subnet_file(process, node.files, READY_SECONDS)
        await self._wire_pod(node, found)

    def stop(self, number: int, how: Signals = Signals.SIGTERM) -> int:
        """End a node's daemon; its exit code."""
        return self.end(self.nodes[number], how)

    @staticmethod
    def end(node: MixedNode, how: Signals) -> int:
        assert node.process is not None
        node.process.send_signal(how)
        return node.process.wait(10)

    async def wait_connected(self, packet_bytes: int = 84) -> None:
        """Each pod has got an answer from each other one; AssertionError that names the others.

        A flanneld that may have missed an event is started again if need be.
        """
        if not self._follows and not (await self.ping(_PATIENCE_WITH_OLD, packet_bytes)).complete:
            for number in self.of(Kind.FLANNELD):
                if self.nodes[number].running:
                    self.stop(number, Signals.SIGKILL)
                await self.start(number)
        matrix = await self.ping(PATIENCE, packet_bytes)
        pairs = [
            f"{self.nodes[p.source].kind.value} {p.source} -> "
            f"{self.nodes[p.destination].kind.value} {p.destination} {p.family.name}"
            for p in matrix.silent
        ]
        assert matrix.complete, f"no answer: {', '.join(pairs)}"

    async def ping(self, timeout: float, packet_bytes: int = 84) -> Matrix:
        pods = [self.pod(number) for number in self.nodes]
        return await ping_all(pods, timeout=timeout, interval=0.05, packet_bytes=packet_bytes)

    def pod(self, number: int) -> Pod:
        node = self.nodes[number]
        addresses = tuple(prefix.address for prefix in node.pod_addresses)
        return Pod(number, netns_path(self.names.pod(number)), addresses)

    def public_ip(self, number: int) -> str:
        """What the node publishes as its IPv4 address."""
        return str(self.spec.underlay_addresses(number)[0].address)

    def entry(self, number: int) -> Stored:
        """The only entry that publishes the address of the node."""
        entries = self.entries_of(number)
        assert len(entries) == 1, f"node {number} has the entries {entries}"
        return entries[0]

    def entries_of(self, number: int) -> list[Stored]:
        """All entries that publish the address of the node."""
        wanted = f'{{"PublicIP":"{self.public_ip(number)}",'
        return [entry for entry in self.entries() if entry.value.startswith(wanted)]

    def entries(self) -> list[Stored]:
        """All leases in etcd."""
        return self.etcd.control.keys(SUBNETS)

    def granted(self, lease: int) -> tuple[int, int]:
        """Seconds that an etcd lease was granted for, and how many keys hang on it."""
        answer = self.etcd.control.ask("lease/timetolive", {"ID": str(lease), "keys": True})
        keys = answer.get("keys", [])
        assert isinstance(keys, list)
        return int(str(answer.get("grantedTTL", 0))), len(keys)

    def of(self, kind: Kind) -> list[int]:
        """The nodes that run this kind."""
        return [number for number, node in self.nodes.items() if node.kind is kind]

    def followers(self) -> list[MixedNode]:
        """The nodes that follow each change of the leases."""
        return [node for node in self.nodes.values() if self._follows or node.kind is Kind.OURS]

    def subnets(self, number: int) -> list[str]:
        """The node's subnets as routes show them."""
        return [str(prefix.masked()) for prefix in self.nodes[number].pod_addresses]

    async def status(self, number: int) -> Mapping[str, object]:
        """What our daemon on this node says of itself."""
        answer = await ask_daemon(self.nodes[number].files.status_socket, "status")
        assert answer is not None, self.nodes[number].files.log_tail(20)
        return answer

    def release(self) -> None:
        """End all daemons and reap them."""
        for node in self.nodes.values():
            if node.running:
                self.end(node, Signals.SIGKILL)
        self.etcd.release()

    async def _wire_pod(self, node: MixedNode, found: SubnetFile) -> None:
        subnets = [prefix.masked() for prefix in node.pod_addresses]
        if subnets == [gateway.masked() for gateway in found.gateways] and node.mtu == found.mtu:
            return
        node.pod_addresses = await attach_pod(self.names, node.number, found.gateways, found.mtu)
        node.mtu = found.mtu

    def _our_command(self, files: NodeFiles) -> Sequence[str]:
        return [
            *(sys.executable, "-P", "-m", "flannel_sdk.cli", "daemon"),
            *("--store", "etcd", "--etcd-endpoints", self._endpoint),
            *("--iface", UNDERLAY_LINK, "--subnet-file", str(files.subnet_file)),
            *("--status-socket", str(files.status_socket)),
        ]

    def _flanneld_command(self, files: NodeFiles) -> Sequence[str]:
        return [
            *(str(self._flanneld), f"--etcd-endpoints={self._endpoint}"),
            *(f"--iface={UNDERLAY_LINK}", f"--subnet-file={files.subnet_file}"),
            "--iptables-forward-rules=false",
        ]


def _stamp(path: Path) -> tuple[int, int] | None:
    """Another one each time that a file is written or replaced; None while there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def flanneld_version(flanneld: Path) -> tuple[int, int]:
    """Major and minor version; that of a build without one counts as the newest."""
    done = subprocess.run([flanneld, "--version"], capture_output=True, text=True, check=True)
    found = re.fullmatch(r"v(\d+)\.(\d+)\..*", (done.stderr + done.stdout).strip())
    return (int(found[1]), int(found[2])) if found else (99, 0)


@asynccontextmanager
async def mixed_cluster(
    spec: LabSpec, flanneld: Path, instance: str, directory: Path, kinds: Mapping[int, Kind]
) -> AsyncIterator[MixedCluster]:
    """A cluster whose nodes run; all of it is gone after the block."""
    names = LabNames(instance)
    claim_directory(directory)
    try:
        await make_underlay(names, spec)
        router = str(spec.router_addresses(1)[0].address)
        etcd = servers.start_cluster(Setup(host=router, namespace=Namespace(names.router)))
        cluster = MixedCluster(names, spec, directory, flanneld, etcd)
        try:
            etcd.control.put(f"{PREFIX}/config", spec.network_config())
            await cluster.join(kinds)
            yield cluster
        finally:
            cluster.release()
    finally:
        await clean_up(names, directory)
