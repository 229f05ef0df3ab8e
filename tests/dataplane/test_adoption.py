"""What a predecessor left is adopted; what is stale and ours is pruned; what is foreign stays."""

import asyncio
from collections.abc import Sequence

import pytest

from flannel_sdk.dataplane import LinuxKernel, Ownership, Route
from flannel_sdk.dataplane.observed import Notice, RouteNotice
from flannel_sdk.model import Family, Prefix
from flannel_sdk.testing.namespaces import Namespace
from tests.dataplane.nodes import (
    DEVICE,
    OWN_MAC,
    OWNERSHIP,
    add_underlay,
    changed,
    device,
    eventually,
    fdb,
    holds,
    neighbours,
    node_objects,
    peer,
    peers,
    reconciler,
    routes_to,
    rows,
)

pytestmark = pytest.mark.root
FAMILIES = pytest.mark.parametrize("family", list(Family), ids=str)


def as_flanneld_left_it(netns: Namespace, family: Family, count: int) -> None:
    """A device and peers, laid out as flanneld does: boot routes with an onlink gateway."""
    four = family is Family.IPV4
    local = "192.168.0.1" if four else "fd01::1"
    netns.ip(
        f"link add {DEVICE} address {OWN_MAC} mtu 1430 type vxlan id 1 dev eth0 local {local}"
        " dstport 8472 nolearning"
    )
    netns.ip(f"link set {DEVICE} up")
    netns.ip(f"address add {'10.0.0.0/32' if four else 'fd00::/128'} dev {DEVICE}")
    for one in peers(count, family):
        gateway = one.subnet.address
        netns.ip(f"neigh replace {gateway} lladdr {one.mac} dev {DEVICE} nud permanent")
        netns.bridge(f"fdb replace {one.mac} dev {DEVICE} dst {one.public} self permanent")
        version = 4 if four else 6
        netns.ip(
            f"-{version} route replace {one.subnet} via {gateway} dev {DEVICE} onlink proto boot"
        )


@FAMILIES
async def test_a_predecessors_node_is_taken_over(netns: Namespace, family: Family) -> None:
    add_underlay(netns)
    as_flanneld_left_it(netns, family, 4)
    index = device(netns)["ifindex"]
    async with reconciler(netns) as made:
        await made.set_node(node_objects(family))
        assert device(netns)["ifindex"] == index
        stay = peers(3, family)
        await made.update(changed(stay), full=True)
        assert holds(netns, stay, family)
        # Neighbours and forwarding entries were right: only routes are written, the old ones of
        # IPv4 removed, and all of the peer that is gone (route, neighbour, forwarding entry).
        assert made.status()["written"] == 3 * 2 + 3
        version = 4 if family is Family.IPV4 else 6
        assert rows(netns.ip(f"-json -{version} route show proto boot dev {DEVICE}")) == []


async def test_nothing_is_pruned_before_the_first_full_update(netns: Namespace) -> None:
    add_underlay(netns)
    as_flanneld_left_it(netns, Family.IPV4, 3)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        await made.update(changed([peer(1)]), full=False)
        assert len(neighbours(netns)) == len(fdb(netns)) == 3
        await made.update(changed([peer(1)]), full=True)
        assert holds(netns, [peer(1)])


async def test_a_crashed_run_is_cleaned_up(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        await made.update(changed(peers(20)), full=True)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        await made.update(changed(peers(5)), full=True)
        assert holds(netns, peers(5))


FOREIGN_ROUTES = (
    "10.0.200.0/24 via 192.168.0.200 dev eth0 proto static",
    "10.0.201.0/24 via 192.168.0.200 dev eth0 proto 102 table 77",
    "172.30.0.0/16 via 192.168.0.200 dev eth0 proto 102",
    "10.0.1.0/24 via 192.168.0.200 dev eth0 proto static metric 70000",
)


async def test_foreign_objects_survive_everything(netns: Namespace) -> None:
    add_underlay(netns)
    for route in FOREIGN_ROUTES:
        netns.ip(f"route add {route}")
    netns.ip("neigh add 192.168.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent")
    netns.ip("nexthop add id 5 via 192.168.0.200 dev eth0 proto 102")
    netns.ip("link add foreign0 type bridge")
    before = [netns.ip(f"route show {route}") for route in FOREIGN_ROUTES]
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        netns.bridge(f"fdb append 00:00:00:00:00:00 dev {DEVICE} dst 192.168.0.99")
        netns.ip(f"address add 203.0.113.5/32 dev {DEVICE}")
        await made.update(changed(peers(3)), full=True)
        await made.update([], full=True)
        assert [netns.ip(f"route show {route}") for route in FOREIGN_ROUTES] == before
        assert "02:00:00:00:00:77" in netns.ip("neigh show dev eth0")
        assert "id 5" in netns.ip("nexthop show")
        assert fdb(netns) == {"00:00:00:00:00:00": "192.168.0.99"}
        assert "203.0.113.5" in netns.ip(f"address show dev {DEVICE}")
        assert device(netns, "foreign0")


@pytest.mark.parametrize("family", list(Family), ids=str)
async def test_a_foreign_route_to_a_peer_is_replaced(netns: Namespace, family: Family) -> None:
    add_underlay(netns)
    one = peer(1, family)
    version, via = (4, "192.168.0.200") if family is Family.IPV4 else (6, "fd01::200")
    netns.ip(f"-{version} route add {one.subnet} via {via} dev eth0 proto static")
    async with reconciler(netns, running=True) as made:
        await made.set_node(node_objects(family))
        await made.update(changed([one]), full=True)
        await eventually(lambda: holds(netns, [one], family))
        shown = rows(netns.ip(f"-json -{version} route show {one.subnet}"))
        assert [row["dev"] for row in shown] == [DEVICE]


@pytest.mark.parametrize(
    "wrong",
    [
        "type vxlan id 2 dev eth0 local 192.168.0.1 dstport 8472 nolearning",
        "type vxlan id 1 dev eth0 local 192.168.0.1 dstport 4789 nolearning",
        "type vxlan id 1 dev eth0 local 192.168.0.1 dstport 8472 learning",
        "type vxlan id 1 dev other0 local 192.168.0.1 dstport 8472 nolearning",
        "type vxlan id 1 dev eth0 dstport 8472 nolearning",
        "type bridge",
    ],
)
async def test_a_device_that_differs_is_remade(netns: Namespace, wrong: str) -> None:
    add_underlay(netns)
    netns.add_veth("other0")
    netns.ip(f"link add {DEVICE} {wrong}")
    index = device(netns)["ifindex"]
    async with reconciler(netns) as made:
        planned = [change.action for change in await made.plan()]
        assert planned == []
        await made.set_node(node_objects())
        assert device(netns)["ifindex"] != index
        assert device(netns)["address"] == str(OWN_MAC)
        assert await made.plan() == []


async def test_mtu_mac_and_state_are_set_in_place(netns: Namespace) -> None:
    add_underlay(netns)
    netns.ip(
        f"link add {DEVICE} mtu 1300 type vxlan id 1 dev eth0 local 192.168.0.1 dstport 8472"
        " nolearning"
    )
    index = device(netns)["ifindex"]
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        link = device(netns)
        assert (link["ifindex"], link["mtu"], link["address"]) == (index, 1430, str(OWN_MAC))
        flags = link["flags"]
        assert isinstance(flags, list)
        assert "UP" in flags


async def test_old_addresses_of_the_device_inside_the_network_go(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        netns.ip(f"address add 10.7.0.0/32 dev {DEVICE}")
        netns.ip(f"address add fd00:7::/128 dev {DEVICE}")
        await made.set_node(node_objects())
        shown = netns.ip(f"address show dev {DEVICE}")
        assert "10.7.0.0" not in shown
        assert "10.0.0.0/32" in shown
        assert "fd00:7::" in shown, "a family that has no address of ours is not touched"
        await made.set_node(node_objects(Family.IPV6))
        shown = netns.ip(f"address show dev {DEVICE}")
        assert "fd00:7::" not in shown
        assert str(Prefix.parse("fd00::/128")) in shown
        assert "fe80::" in shown


@pytest.mark.parametrize("protocol", ["boot", "static", "102"])
@FAMILIES
async def test_routes_of_flanneld_on_the_underlay_are_taken_over(
    netns: Namespace, family: Family, protocol: str
) -> None:
    """As host-gw leaves them, and not waiting for the whole set."""
    add_underlay(netns)
    ownership = Ownership(networks=OWNERSHIP.networks)
    some = peers(3, family)
    version = 4 if family is Family.IPV4 else 6
    for one in some:
        netns.ip(f"-{version} route add {one.subnet} via {one.public} dev eth0 proto {protocol}")
    objects = [(one.key, [Route(one.subnet, "eth0", one.public)]) for one in some]
    async with reconciler(netns, ownership=ownership) as made:
        await made.update(objects[:1], full=False)
        assert [row["protocol"] for row in routes_to(netns, some[0].subnet)] == ["102"]
        await made.update(objects, full=True)
        for one in some:
            assert [row["protocol"] for row in routes_to(netns, one.subnet)] == ["102"]
        assert await made.plan() == []


@FAMILIES
async def test_routes_by_nexthop_objects_are_taken_over(netns: Namespace, family: Family) -> None:
    add_underlay(netns)
    async with reconciler(netns) as made:
        await made.set_node(node_objects(family))
        for number, one in enumerate(peers(3, family), 1000):
            gateway = one.subnet.address
            netns.ip(f"nexthop add id {number} via {gateway} dev {DEVICE} onlink proto 102")
            netns.ip(f"route add {one.subnet} nhid {number} proto 102")
        await made.update(changed(peers(2, family)), full=True)
        assert holds(netns, peers(2, family), family)
        for one in peers(2, family):
            (row,) = routes_to(netns, one.subnet)
            assert "nhid" not in row
        assert await made.plan() == []


async def test_ours_is_there_before_theirs_goes(netns: Namespace) -> None:
    add_underlay(netns)
    as_flanneld_left_it(netns, Family.IPV4, 1)
    heard: list[RouteNotice] = []
    done = asyncio.Event()

    def take(notices: Sequence[Notice]) -> None:
        found = [n for n in notices if isinstance(n, RouteNotice) and n.key[1] == 24]
        heard.extend(found)
        if any(not notice.present for notice in found):
            done.set()

    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        onlooker = LinuxKernel(netns.path)
        await onlooker.subscribe(take)
        await made.update(changed(peers(1)), full=True)
        async with asyncio.timeout(3):
            await done.wait()
        await onlooker.aclose()
    assert [(n.present, n.route.protocol) for n in heard] == [(True, 102), (False, 3)]


async def test_a_plan_names_what_is_in_the_way(netns: Namespace) -> None:
    add_underlay(netns)
    as_flanneld_left_it(netns, Family.IPV4, 1)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        await made.update(changed(peers(1)), full=True)
        netns.ip("route add 10.0.1.0/24 via 192.168.0.9 dev eth0 proto static")
        index = device(netns, "eth0")["ifindex"]
        planned = [(change.action, change.kind, change.subject) for change in await made.plan()]
        assert planned == [
            ("remove", "route", f"10.0.1.0/24 via 192.168.0.9 dev if{index} proto 4"),
        ]
        await made.audit()
        assert holds(netns, peers(1))


@pytest.mark.parametrize("metric", [512, 1024])
async def test_an_ipv6_peer_moves_between_devices_without_a_refusal(
    netns: Namespace, metric: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel refuses an on-link gateway that it would reach by another device."""
    add_underlay(netns)
    one = peer(1, Family.IPV6)
    async with reconciler(netns, running=True) as made:
        await made.set_node(node_objects(Family.IPV6))
        direct = [Route(one.subnet, "eth0", one.public)]
        await made.update([(one.key, direct)], full=True)
        for _ in range(2):
            await made.update(changed([one]), full=False)
            assert holds(netns, [one], Family.IPV6)
            await made.update([(one.key, direct)], full=False)
            assert [row["dev"] for row in routes_to(netns, one.subnet)] == ["eth0"]
        await made.update(changed([one]), full=False)
        await asyncio.to_thread(
            netns.ip, f"-6 route replace {one.subnet} via fd01::9 dev eth0 metric {metric}"
        )
        await eventually(lambda: len(routes_to(netns, one.subnet)) == 1)
        await eventually(lambda: holds(netns, [one], Family.IPV6))
        assert not caplog.records
