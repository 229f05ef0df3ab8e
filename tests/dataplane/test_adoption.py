"""What a predecessor left is adopted; what is stale and ours is pruned; what is foreign stays."""

import pytest

from flannel_sdk.dataplane import Ownership, Route
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
    nexthops,
    node_objects,
    peer,
    peers,
    reconciler,
    routes,
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
        # Neighbours and forwarding entries were right: only routes and nexthops are written, and
        # the peer that is gone is removed (route, neighbour, forwarding entry).
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
    ids = nexthops(netns)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        await made.update(changed(peers(5)), full=True)
        assert holds(netns, peers(5))
        assert set(nexthops(netns)) < set(ids)


FOREIGN_ROUTES = (
    "10.0.200.0/24 via 192.168.0.200 dev eth0 proto static",
    "10.0.201.0/24 via 192.168.0.200 dev eth0 proto 102 table 77",
    "172.30.0.0/16 via 192.168.0.200 dev eth0 proto 102",
    "10.0.1.0/24 via 192.168.0.200 dev eth0 proto static metric 50",
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
        assert 5 in nexthops(netns)
        assert fdb(netns) == {"00:00:00:00:00:00": "192.168.0.99"}
        assert "203.0.113.5" in netns.ip(f"address show dev {DEVICE}")
        assert device(netns, "foreign0")


async def test_a_nexthop_that_a_foreign_route_uses_is_not_pruned(netns: Namespace) -> None:
    add_underlay(netns)
    ownership = Ownership(networks=OWNERSHIP.networks)
    both = [(p.key, [Route(p.subnet, "eth0", p.public)]) for p in peers(2)]
    async with reconciler(netns, ownership=ownership) as made:
        await made.update(both, full=True)
    used = routes(netns)["10.0.1.0/24"]["nhid"]
    netns.ip(f"route add 198.51.100.0/24 nhid {used} proto static")
    async with reconciler(netns, ownership=ownership) as made:
        await made.update(both, full=True)
        await made.update([], [peer(1).key], full=False)
        await made.update([], full=True)
        assert list(nexthops(netns)) == [used]
        assert "198.51.100.0/24" in netns.ip("route show proto static")
    async with reconciler(netns, ownership=ownership) as made:
        await made.update([], full=True)
        assert list(nexthops(netns)) == [used]
        netns.ip("route delete 198.51.100.0/24")
    async with reconciler(netns, ownership=ownership) as made:
        await made.update([], full=True)
        assert nexthops(netns) == {}


async def test_an_id_that_somebody_else_took_is_left_to_him(netns: Namespace) -> None:
    add_underlay(netns)
    taken = OWNERSHIP.nexthop_ids().start
    netns.ip(f"nexthop add id {taken} via 192.168.0.200 dev eth0 proto static")
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        await made.update(changed(peers(2)), full=True)
        assert holds(netns, peers(2))
        assert nexthops(netns)[taken]["gateway"] == "192.168.0.200"


async def test_an_id_taken_between_two_looks_is_replaced_by_another(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns, running=True) as made:
        await made.set_node(node_objects())
        await made.update([], full=True)
        taken = OWNERSHIP.nexthop_ids().start
        netns.ip(f"nexthop add id {taken} via 192.168.0.200 dev eth0 proto static")
        await made.update(changed(peers(1)), full=True)

        await eventually(lambda: holds(netns, peers(1)))
        assert nexthops(netns)[taken]["gateway"] == "192.168.0.200"


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
