"""Nodes for tests of backends: network namespaces on one underlay, each with a pod address."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from flannel_sdk.interfaces import BackendContext
from flannel_sdk.model import (
    ByFamily,
    ExternalInterface,
    Family,
    IPAddress,
    NetworkConfig,
    Prefix,
    Subnets,
)
from flannel_sdk.testing.namespaces import Namespace

V4, V6 = Family.IPV4, Family.IPV6


def config(backend: str, *families: Family, **options: object) -> NetworkConfig:
    """A network of the given families with one backend."""
    document: dict[str, object] = {
        "EnableIPv4": V4 in families,
        "EnableIPv6": V6 in families,
        "Backend": {"Type": backend, **options},
    }
    if V4 in families:
        document["Network"] = "10.5.0.0/16"
    if V6 in families:
        document["IPv6Network"] = "fd00:5::/48"
    return NetworkConfig.parse(json.dumps(document))


class Node(NamedTuple):
    """A namespace with an underlay interface ``eth0`` and pod addresses on ``lo``."""

    number: int
    netns: Namespace
    switch: Namespace

    @property
    def public_ips(self) -> ByFamily[IPAddress]:
        """What it has on the underlay."""
        number = self.number
        return ByFamily(
            IPAddress.parse(f"192.0.2.{number}"), IPAddress.parse(f"2001:db8::{number}")
        )

    @property
    def subnets(self) -> Subnets:
        """Its lease."""
        number = self.number
        return ByFamily(
            Prefix.parse(f"10.5.{number}.0/24"), Prefix.parse(f"fd00:5:0:{number}::/64")
        )

    @property
    def pods(self) -> ByFamily[IPAddress]:
        """Its pod's address."""
        number = self.number
        return ByFamily(
            IPAddress.parse(f"10.5.{number}.2"), IPAddress.parse(f"fd00:5:0:{number}::2")
        )

    def context(self, public_ips: ByFamily[IPAddress] | None = None) -> BackendContext:
        """What a backend on this node is made with."""
        link = self.show("link show eth0")[0]
        index, mtu = link["ifindex"], link["mtu"]
        assert isinstance(index, int)
        assert isinstance(mtu, int)
        own = self.public_ips
        interface = ExternalInterface("eth0", index, mtu, own, public_ips or own)
        return BackendContext(interface, self.netns.path)

    def ip(self, command: str) -> None:
        """Run ``ip`` inside."""
        self.netns.ip(command)

    def plug(self) -> None:
        """Make ``eth0`` with its addresses; ``ip link del eth0`` unplugs it."""
        port = f"port{self.number}"
        self.ip(f"link add eth0 type veth peer name {port} netns {self.switch.name}")
        self.switch.ip(f"link set {port} master br0 up")
        self.ip("link set eth0 up")
        self.ip(f"addr add {self.public_ips.ipv4}/24 dev eth0")
        self.ip(f"addr add {self.public_ips.ipv6}/64 dev eth0 nodad")

    def plug_alone(self) -> None:
        """Make ``eth0`` with its addresses where nobody else is on the underlay."""
        self.netns.call(_skip_duplicate_address_detection)
        self.netns.add_veth("eth0", f"{self.public_ips.ipv4}/24", f"{self.public_ips.ipv6}/64")

    def show(self, command: str) -> list[dict[str, object]]:
        """The JSON that ``ip`` prints."""
        return _rows(self.netns.ip(f"-j -d {command}"))

    def fdb(self, device: str) -> dict[object, object]:
        """Destination by MAC of a vxlan device."""
        rows = _rows(self.netns.bridge(f"-j fdb show dev {device}"))
        return {row["mac"]: row.get("dst") for row in rows}

    def routes(self, family: Family = V4) -> dict[object, object]:
        """Gateway (None: on the link) by destination of all routes into other pod subnets."""
        rows = self.show(f"{'-4' if family is V4 else '-6'} route show")
        pods = ("10.5.", "fd00:5:")
        return {
            row["dst"]: row.get("gateway")
            for row in rows
            if str(row["dst"]).startswith(pods) and row["dev"] != "lo"
        }

    def device(self, name: str) -> dict[str, object] | None:
        """What ``ip link`` says about a device; None if there is none."""
        return next((row for row in self.show("link show") if row["ifname"] == name), None)

    def fragments(self) -> int:
        """How many fragments this node has made since it began."""
        return sum(self.netns.call(_read_fragment_counters))


def _read_fragment_counters() -> list[int]:
    own = Path("/proc/thread-self/net")
    snmp = own.joinpath("snmp").read_text(encoding="ascii").splitlines()
    names, values = (line.split() for line in snmp if line.startswith("Ip:"))
    snmp6 = dict(line.split() for line in own.joinpath("snmp6").read_text("ascii").splitlines())
    return [int(values[names.index("FragCreates")]), int(snmp6["Ip6FragCreates"])]


def _rows(text: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(text or "[]")
    return rows


def _skip_duplicate_address_detection() -> None:
    # It would keep the link-local addresses, and so IPv6, from working for the first two seconds.
    Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0", encoding="ascii")


def underlay(make_netns: Callable[[str], Namespace], nodes: int = 2) -> list[Node]:
    """Nodes 1, 2, .. on one layer-2 segment, both families; ``make_netns`` is the fixture."""
    switch = make_netns("switch")
    switch.ip("link add br0 type bridge")
    switch.ip("link set br0 up")
    made = [Node(number, make_netns(f"node{number}"), switch) for number in range(1, nodes + 1)]
    for node in made:
        node.netns.call(_skip_duplicate_address_detection)
        node.plug()
        node.ip(f"addr add {node.pods.ipv4}/32 dev lo")
        node.ip(f"addr add {node.pods.ipv6}/128 dev lo nodad")
    return made
