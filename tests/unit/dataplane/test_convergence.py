"""Any order of updates, thefts and faults, then quiet: the kernel ends as it was told."""

import asyncio
import errno
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flannel_sdk.dataplane import (
    Device,
    FdbEntry,
    InterfaceAddress,
    KernelObject,
    Neighbour,
    Ownership,
    Reconciler,
    Route,
)
from flannel_sdk.dataplane.requests import RouteKey, RouteTarget, StrayRoute, Via
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
Declared = tuple[int, int, int, bool]
"""Number of the MAC, number of the underlay address, number of the peer, and if it is direct."""


def subnet(peer: int) -> Prefix:
    return Prefix(IPAddress(bytes([10, 0, peer, 0])), 24)


def objects(declared: Declared) -> tuple[KernelObject, ...]:
    mac_number, public_number, peer, direct = declared
    public = IPAddress(bytes([192, 168, 0, public_number]))
    if direct:
        return (Route(subnet(peer), "eth0", public),)
    mac = MacAddress(bytes([2, 0, 0, 0, 1, mac_number]))
    gateway = subnet(peer).address
    return (
        Neighbour(DEVICE, gateway, mac),
        FdbEntry(DEVICE, mac, public),
        Route(subnet(peer), DEVICE, gateway, True),
    )


declarations = st.dictionaries(
    st.sampled_from(PEERS), st.tuples(st.integers(1, 5), st.integers(1, 9), st.booleans())
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("full"), declarations),
        st.tuples(st.just("change"), declarations),
        st.tuples(st.just("remove"), st.sets(st.sampled_from(PEERS))),
        st.tuples(st.just("steal"), st.sampled_from(["route", "neighbour", "fdb", "nexthop"])),
        st.tuples(st.just("delete"), st.sampled_from([DEVICE, "eth0"])),
        st.tuples(st.just("faults"), st.sets(st.integers(0, 60))),
        st.tuples(st.just("pass"), st.floats(0.0, 2.0)),
        st.tuples(st.just("restart"), st.none()),
    ),
    max_size=12,
)


class World:
    """A kernel, a reconciler that is restarted now and then, and what it was told."""

    def __init__(self, nexthops: bool) -> None:
        self.kernel = FakeKernel(nexthops=nexthops)
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
        elif kind == "nexthop":
            for nexthop_id in list(kernel.nexthop_rows)[:2]:
                kernel.steal_nexthop(nexthop_id)
        elif kind == "fdb":
            for mac in list(kernel.fdb_by_index.get(index, ()))[:2]:
                kernel.steal_fdb(index, mac)
        else:
            for address in list(kernel.rows_by_index.get(index, ()))[:2]:
                kernel.steal_neighbour(index, address)

    def tell(self, declared: dict[int, tuple[int, int, bool]], full: bool) -> None:
        if full:
            self.told.clear()
        for peer, (mac, public, direct) in declared.items():
            self.told[peer] = (mac, public, peer, direct)

    def check(self) -> None:
        """The kernel holds what was told; of two peers with one MAC it may be either's entry."""
        link, lower = self.kernel.links[DEVICE], self.kernel.links["eth0"]
        routes: dict[RouteKey, Via] = {}
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
                    routes[item.destination] = Via(index, item.gateway, item.onlink)

        def way(target: RouteTarget) -> Via:
            return target if isinstance(target, Via) else self.kernel.nexthop_rows[target]

        assert {key: way(to) for key, to in self.kernel.route_rows.items()} == routes
        assert self.kernel.rows_by_index.get(link.ifindex, {}) == neighbours
        entries = self.kernel.fdb_by_index.get(link.ifindex, {})
        assert entries.keys() == fdb.keys()
        assert all(entries[mac] in choices for mac, choices in fdb.items())
        used = {to for to in self.kernel.route_rows.values() if not isinstance(to, Via)}
        assert self.kernel.nexthop_rows.keys() == used
        assert self.kernel.strays == set()
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
    world.kernel.strays.add(StrayRoute(bytes([10, 0, 3, 0]), 24, 3, ifindex=99))
    world.kernel.strays.clear()
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
    world.check()
    written = world.kernel.requests
    await asyncio.sleep(300)
    assert world.kernel.requests == written, "audits of a state that holds write nothing"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=steps, nexthops=st.booleans())
def test_the_kernel_ends_as_it_was_told(script: list[tuple[str, object]], nexthops: bool) -> None:
    virtual_time.run(play(World(nexthops), script))
