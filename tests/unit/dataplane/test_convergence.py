"""Any order of updates, thefts and faults, then quiet: the kernel ends as it was told."""

import asyncio
import errno
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flannel_sdk.dataplane import (
    ROUTE_PROTOCOL,
    Device,
    FdbEntry,
    InterfaceAddress,
    KernelObject,
    Neighbour,
    Ownership,
    Reconciler,
    Route,
)
from flannel_sdk.dataplane.metrics import route_metric
from flannel_sdk.dataplane.requests import RouteSlot, StrayRoute, Via
from flannel_sdk.errors import KernelError
from flannel_sdk.model import IPAddress, MacAddress, Prefix
from flannel_sdk.testing import virtual_time
from flannel_sdk.testing.fake_kernel import FakeKernel

DEVICE = "flannel.1"
NETWORK = Prefix.parse("10.0.0.0/16")
NODE: tuple[KernelObject, ...] = (
    Device(
        DEVICE, "vxlan", 1450, MacAddress.parse("02:00:00:00:00:01"), "eth0", (("vxlan_id", 1),)
    ),
    InterfaceAddress(DEVICE, Prefix.parse("10.0.0.0/32")),
)
PEERS = range(1, 7)
Declared = tuple[int, int, int, str]
"""Number of the MAC, number of the underlay address, number of the peer, and its kind."""


def subnet(peer: int) -> Prefix:
    return Prefix(IPAddress(bytes([10, 0, peer, 0])), 24)


def objects(declared: Declared) -> tuple[KernelObject, ...]:
    mac_number, public_number, peer, kind = declared
    public = IPAddress(bytes([192, 168, 0, public_number]))
    if kind == "direct":
        return (Route(subnet(peer), "eth0", public),)
    if kind == "on the link":
        return (Route(subnet(peer), DEVICE, None),)
    mac = MacAddress(bytes([2, 0, 0, 0, 1, mac_number]))
    gateway = subnet(peer).address
    return (
        Neighbour(DEVICE, gateway, mac),
        FdbEntry(DEVICE, mac, public),
        Route(subnet(peer), DEVICE, gateway, True),
    )


KINDS = st.sampled_from(["tunnel", "direct", "on the link"])
declarations = st.dictionaries(
    st.sampled_from(PEERS), st.tuples(st.integers(1, 5), st.integers(1, 9), KINDS)
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("full"), declarations),
        st.tuples(st.just("change"), declarations),
        st.tuples(st.just("remove"), st.sets(st.sampled_from(PEERS))),
        st.tuples(st.just("steal"), st.sampled_from(["route", "neighbour", "fdb"])),
        st.tuples(st.just("rival"), st.tuples(st.sampled_from(PEERS), st.integers(0, 5))),
        st.tuples(st.just("delete"), st.sampled_from([DEVICE, "eth0"])),
        st.tuples(st.just("faults"), st.sets(st.integers(0, 60))),
        st.tuples(st.just("pass"), st.floats(0.0, 2.0)),
        st.tuples(st.just("restart"), st.none()),
    ),
    max_size=12,
)


class World:
    """A kernel, a reconciler that is restarted now and then, and what it was told."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.kernel.add_link("eth0")
        self.told: dict[int, Declared] = {}
        self.faults: set[int] = set()
        self.counter = 0
        self.kernel.fault = self._fault
        self.ownership = Ownership(frozenset({DEVICE}), (NETWORK,))

    def _fault(self, _: str) -> int | None:
        self.counter += 1
        return errno.EBUSY if self.counter in self.faults else None

    def steal(self, kind: str) -> None:
        kernel = self.kernel
        link = kernel.links.get(DEVICE)
        index = link.ifindex if link else 0
        if kind == "route":
            for key in list(kernel.route_rows)[:2]:
                kernel.steal_route(key)
        elif kind == "fdb":
            for mac in list(kernel.fdb_by_index.get(index, ()))[:2]:
                kernel.steal_fdb(index, mac)
        else:
            for address in list(kernel.rows_by_index.get(index, ()))[:2]:
                kernel.steal_neighbour(index, address)

    def add_rival(self, peer: int, number: int) -> None:
        """A route to a peer's subnet, by way of either device and of any protocol."""
        device = self.kernel.links.get((DEVICE, "eth0")[number % 2])
        if device is not None:
            protocol, metric = ((3, 0), (102, 0), (4, peer + 1))[number // 2]
            network = subnet(peer)
            self.kernel.add_stray(
                StrayRoute(*network, protocol, metric, 0, 0, device.ifindex, network.address)
            )

    def tell(self, declared: dict[int, tuple[int, int, str]], full: bool) -> None:
        if full:
            self.told.clear()
        for peer, (mac, public, kind) in declared.items():
            self.told[peer] = (mac, public, peer, kind)

    def check(self, *, audited: bool) -> None:
        """The kernel holds what was told; of two peers with one MAC it may be either's entry."""
        link, lower = self.kernel.links[DEVICE], self.kernel.links["eth0"]
        routes: dict[RouteSlot, Via] = {}
        neighbours: dict[bytes, bytes] = {}
        fdb: dict[bytes, set[bytes]] = {}
        for declared in self.told.values():
            for item in objects(declared):
                if isinstance(item, Neighbour):
                    neighbours[item.address] = item.mac
                elif isinstance(item, FdbEntry):
                    fdb.setdefault(item.mac, set()).add(item.destination)
                elif isinstance(item, Route):
                    index = link.ifindex if item.device == DEVICE else lower.ifindex
                    slot = (*item.destination, route_metric(item))
                    routes[slot] = Via(index, item.gateway, item.onlink)
        assert self.kernel.route_rows == routes
        assert self.kernel.rows_by_index.get(link.ifindex, {}) == neighbours
        entries = self.kernel.fdb_by_index.get(link.ifindex, {})
        assert entries.keys() == fdb.keys()
        assert all(entries[mac] in choices for mac, choices in fdb.items())
        metrics = {slot[:2]: slot[2] for slot in routes}
        for stray in self.kernel.strays:
            if stray[:2] in metrics or audited:  # those of others, not in the way of ours
                assert stray.protocol != ROUTE_PROTOCOL
                assert stray.ifindex == lower.ifindex
                assert stray.metric > metrics.get(stray[:2], -1)
        assert self.kernel.addresses_by_index[link.ifindex] == {(bytes([10, 0, 0, 0]), 32)}


async def start(world: World) -> tuple[Reconciler, "asyncio.Task[None]"]:
    """A new reconciler on the kernel as it is, told everything again until it takes it."""
    made = Reconciler(world.kernel, world.ownership)
    while True:
        if "eth0" not in world.kernel.links:
            world.kernel.add_link("eth0")
        try:
            await made.set_node(NODE)
            await made.update([(p, objects(d)) for p, d in world.told.items()], full=True)
        except KernelError:
            await asyncio.sleep(1)
        else:
            return made, asyncio.create_task(made.run())


async def tell(made: Reconciler, world: World, full: bool, removed: Sequence[int] = ()) -> None:
    """One update as a backend sends it: again, and then in full, if it was refused."""
    while True:
        try:
            peers = [(p, objects(d)) for p, d in world.told.items()]
            await made.update(peers, removed, full=full)
        except KernelError:
            full = True
            await asyncio.sleep(1)
        else:
            return


async def play(world: World, script: Sequence[tuple[str, object]]) -> None:
    made, task = await start(world)
    for name, argument in script:
        if name in ("full", "change") and isinstance(argument, dict):
            world.tell(argument, name == "full")
            await tell(made, world, name == "full")
        elif name == "remove" and isinstance(argument, set):
            for peer in argument:
                world.told.pop(peer, None)
            await tell(made, world, False, sorted(argument))
        elif name == "steal":
            world.steal(str(argument))
        elif name == "rival" and isinstance(argument, tuple):
            world.add_rival(*argument)
        elif name == "delete":
            world.kernel.steal_link(str(argument))
        elif name == "faults" and isinstance(argument, set):
            world.faults = {world.counter + number for number in argument}
        elif name == "pass" and isinstance(argument, float):
            await asyncio.sleep(argument)
        elif name == "restart":
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            made, task = await start(world)
    world.faults = set()
    if "eth0" not in world.kernel.links:
        world.kernel.add_link("eth0")
    await asyncio.sleep(55)  # virtual: less than the time to the first audit by the clock
    world.check(audited=False)
    await asyncio.sleep(60)
    world.check(audited=True)
    written = world.kernel.requests
    await asyncio.sleep(300)
    assert world.kernel.requests == written, "audits of a state that holds write nothing"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=steps)
def test_the_kernel_ends_as_it_was_told(script: list[tuple[str, object]]) -> None:
    virtual_time.run(play(World(), script))
