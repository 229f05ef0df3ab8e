"""A vxlan node in a namespace, peers for it, and its kernel state in iproute2's words."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from flannel_sdk.dataplane import (
    Device,
    FdbEntry,
    InterfaceAddress,
    KernelObject,
    LinuxKernel,
    Neighbour,
    Ownership,
    Reconciler,
    Route,
)
from flannel_sdk.model import Family, IPAddress, MacAddress, Prefix
from flannel_sdk.testing.namespaces import Namespace

DEVICE = "flannel.1"
OWN_MAC = MacAddress.parse("02:aa:00:00:00:01")
OWNERSHIP = Ownership(frozenset({DEVICE}), (Prefix.parse("10.0.0.0/8"), Prefix.parse("fd00::/16")))
Row = dict[str, object]


class Peer(NamedTuple):
    """One peer's addresses."""

    subnet: Prefix
    public: IPAddress
    mac: MacAddress

    @property
    def key(self) -> Prefix:
        return self.subnet

    @property
    def objects(self) -> tuple[KernelObject, ...]:
        gateway = self.subnet.address
        return (
            Neighbour(DEVICE, gateway, self.mac),
            FdbEntry(DEVICE, self.mac, self.public),
            Route(self.subnet, DEVICE, gateway, onlink=True),
        )


def peer(number: int, family: Family = Family.IPV4) -> Peer:
    mac = MacAddress(b"\x02\x00" + number.to_bytes(4, "big"))
    if family is Family.IPV4:
        subnet = Prefix(IPAddress.from_int(0x0A000000 + (number << 8), family), 24)
        return Peer(subnet, IPAddress.from_int(0xC0A80000 + number + 1, family), mac)
    subnet = Prefix(IPAddress.from_int((0xFD00 << 112) + (number << 64), family), 64)
    return Peer(subnet, IPAddress.from_int((0xFD01 << 112) + number + 1, family), mac)


def peers(count: int, family: Family = Family.IPV4) -> list[Peer]:
    return [peer(number, family) for number in range(1, count + 1)]


def changed(some: Sequence[Peer]) -> list[tuple[Prefix, Sequence[KernelObject]]]:
    return [(one.key, one.objects) for one in some]


def node_objects(family: Family = Family.IPV4, *, mtu: int = 1430) -> list[KernelObject]:
    four = family is Family.IPV4
    local = ("vxlan_local", "192.168.0.1") if four else ("vxlan_local6", "fd01::1")
    attributes = (("vxlan_id", 1), ("vxlan_port", 8472), local, ("vxlan_learning", 0))
    address = Prefix.parse("10.0.0.0/32" if four else "fd00::/128")
    return [
        Device(DEVICE, "vxlan", mtu, OWN_MAC, "eth0", attributes),
        InterfaceAddress(DEVICE, address),
    ]


def add_underlay(netns: Namespace) -> None:
    netns.add_veth("eth0", "192.168.0.1/16", "fd01::1/64")


@asynccontextmanager
async def reconciler(
    netns: Namespace,
    *,
    running: bool = False,
    ownership: Ownership = OWNERSHIP,
    notice_buffer: int = 8 << 20,
    audit_interval: float = 3600.0,
) -> AsyncIterator[Reconciler]:
    """A reconciler in a namespace, closed at the end; its audits are too rare to help."""
    kernel = LinuxKernel(netns.path, notice_buffer=notice_buffer)
    made = Reconciler(kernel, ownership, audit_interval=audit_interval)
    task = asyncio.create_task(made.run()) if running else None
    try:
        yield made
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await kernel.aclose()


def rows(text: str) -> list[Row]:
    decoded: list[Row] = json.loads(text or "[]")
    return decoded


def routes(netns: Namespace, family: Family = Family.IPV4) -> dict[str, Row]:
    version = 4 if family is Family.IPV4 else 6
    found = rows(netns.ip(f"-json -d -{version} route show proto 102"))
    return {str(row["dst"]): row for row in found}


def routes_to(netns: Namespace, destination: Prefix) -> list[Row]:
    """All routes of the main table to a destination, the one that wins first."""
    version = 4 if destination.family is Family.IPV4 else 6
    return rows(netns.ip(f"-json -d -{version} route show exact {destination}"))


def neighbours(netns: Namespace, family: Family = Family.IPV4) -> dict[str, str]:
    version = 4 if family is Family.IPV4 else 6
    found = rows(netns.ip(f"-json -{version} neigh show dev {DEVICE} nud permanent"))
    return {str(row["dst"]): str(row["lladdr"]) for row in found}


def fdb(netns: Namespace) -> dict[str, str]:
    found = rows(netns.bridge(f"-json fdb show dev {DEVICE}"))
    return {str(row["mac"]): str(row["dst"]) for row in found if "dst" in row}


def device(netns: Namespace, name: str = DEVICE) -> Row:
    return rows(netns.ip(f"-json -d link show dev {name}"))[0]


def holds(netns: Namespace, expected: Sequence[Peer], family: Family = Family.IPV4) -> bool:
    """True if the kernel holds the objects of exactly these peers."""
    wanted_routes = {str(one.subnet): str(one.subnet.address) for one in expected}
    have_routes = {key: row.get("gateway") for key, row in routes(netns, family).items()}
    return (
        have_routes == wanted_routes
        and neighbours(netns, family) == {str(p.subnet.address): str(p.mac) for p in expected}
        and fdb(netns) == {str(p.mac): str(p.public) for p in expected}
    )


async def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> float:
    """Seconds until a condition holds; AssertionError after the deadline."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not await asyncio.to_thread(condition):
        assert loop.time() - start < seconds, "the condition did not come true in time"
        await asyncio.sleep(0.002)
    return loop.time() - start
