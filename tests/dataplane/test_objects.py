"""Every kind of object on a real kernel: added, changed, removed; both families."""

import pytest

from flannel_sdk.dataplane import FdbEntry, Neighbour, Ownership, Route
from flannel_sdk.model import Family, IPAddress, MacAddress, Prefix
from flannel_sdk.testing.namespaces import Namespace
from tests.dataplane.nodes import (
    DEVICE,
    OWN_MAC,
    add_underlay,
    changed,
    device,
    eventually,
    holds,
    neighbours,
    node_objects,
    peer,
    peers,
    reconciler,
    routes,
    routes_to,
    rows,
)

pytestmark = pytest.mark.root
FAMILIES = pytest.mark.parametrize("family", list(Family), ids=str)


@FAMILIES
async def test_peers_come_change_and_go(netns: Namespace, family: Family) -> None:
    add_underlay(netns)
    async with reconciler(netns) as made:
        await made.set_node(node_objects(family))
        three = peers(3, family)
        await made.update(changed(three), full=True)
        assert holds(netns, three, family)

        moved = three[1]._replace(
            mac=MacAddress.parse("02:bb:00:00:00:01"), public=peer(99, family).public
        )
        await made.update(changed([moved]), full=False)
        assert holds(netns, [three[0], moved, three[2]], family)

        await made.update([], [three[0].key, peer(77, family).key], full=False)
        assert holds(netns, [moved, three[2]], family)

        await made.update([], full=True)
        assert holds(netns, [], family)


@FAMILIES
async def test_an_equal_update_writes_nothing_and_a_restart_neither(
    netns: Namespace, family: Family
) -> None:
    add_underlay(netns)
    many = peers(500, family)
    async with reconciler(netns) as made:
        await made.set_node(node_objects(family))
        await made.update(changed(many), full=True)
        written = made.status()["written"]
        assert written == 500 * 3 + 2
        await made.update(changed(many), full=True)
        await made.update(changed(many), full=False)
        assert made.status()["written"] == written
    async with reconciler(netns) as made:
        await made.set_node(node_objects(family))
        await made.update(changed(many), full=True)
        assert made.status()["written"] == 0
        assert holds(netns, many, family)
        assert await made.plan() == []


@FAMILIES
async def test_a_gateway_changes_in_place(netns: Namespace, family: Family) -> None:
    add_underlay(netns)
    one = peer(1, family)
    async with reconciler(netns, ownership=Ownership()) as made:
        for gateway in (one.public, peer(2, family).public):
            route = Route(one.subnet, "eth0", gateway)
            await made.update([(one.key, [route])], full=True)
            assert routes(netns, family)[str(one.subnet)]["gateway"] == str(gateway)
            assert routes(netns, family)[str(one.subnet)]["dev"] == "eth0"
        direct = Route(one.subnet, "eth0", None)
        await made.update([(one.key, [direct])], full=True)
        assert "gateway" not in routes(netns, family)[str(one.subnet)]
        assert len(routes_to(netns, one.subnet)) == 1
        back = Route(one.subnet, "eth0", one.public)
        await made.update([(one.key, [back])], full=False)
        assert [row.get("gateway") for row in routes_to(netns, one.subnet)] == [str(one.public)]
        await made.update([], [one.key], full=False)
        assert routes(netns, family) == {}


async def test_each_ipv4_route_has_a_metric_of_its_own_and_ipv6_the_usual_one(
    netns: Namespace,
) -> None:
    add_underlay(netns)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        await made.update(changed([*peers(9), *peers(9, Family.IPV6)]), full=True)
        metrics = [row["metric"] for row in routes(netns).values()]
        assert len(set(metrics)) == 9
        assert {row["metric"] for row in routes(netns, Family.IPV6).values()} == {1024}


async def test_iproute2_flushes_our_routes(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        await made.update(changed(peers(9)), full=True)
        netns.ip("route flush proto 102")
        assert routes(netns) == {}


async def test_a_mac_that_two_peers_claim_heals_when_one_goes(netns: Namespace) -> None:
    add_underlay(netns)
    first = peer(1)
    second = peer(2)._replace(mac=first.mac)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        await made.update(changed([first, second]), full=True)
        assert made.status()["conflicts"] == {"now": 1, "total": 1}
        await made.update([], [first.key], full=False)
        assert holds(netns, [second])
        assert made.status()["conflicts"] == {"now": 0, "total": 1}


async def test_one_bad_object_holds_up_no_other(netns: Namespace) -> None:
    add_underlay(netns)
    bad = Route(Prefix.parse("10.9.9.0/24"), "eth0", IPAddress.parse("203.0.113.9"))
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        await made.update([("bad", [bad]), *changed(peers(5))], full=True)
        assert holds(netns, peers(5))
        failed = made.status()["failed"]
        assert isinstance(failed, dict)
        assert failed["count"] == 1
        assert any("gateway" in reason for reason in failed["reasons"])


async def test_a_refused_object_is_tried_again(netns: Namespace) -> None:
    add_underlay(netns)
    late = Route(Prefix.parse("10.9.9.0/24"), "eth0", IPAddress.parse("203.0.113.9"))
    async with reconciler(netns, running=True) as made:
        await made.update([("late", [late])], full=True)
        assert routes(netns) == {}
        netns.ip("address add 203.0.113.1/24 dev eth0")
        await eventually(lambda: "10.9.9.0/24" in routes(netns))
        assert made.status()["failed"] == {"count": 0, "reasons": {}}


async def test_the_device_is_as_declared(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        link = device(netns)
        assert (link["mtu"], link["address"]) == (1430, str(OWN_MAC))
        assert await made.device_mac(DEVICE) == OWN_MAC
        info = link["linkinfo"]
        assert isinstance(info, dict)
        data = info["info_data"]
        assert (data["id"], data["port"], data["link"]) == (1, 8472, "eth0")
        assert data["local"] == "192.168.0.1"
        assert data["learning"] is False
        assert netns.exec(f"cat /proc/sys/net/ipv6/conf/{DEVICE}/accept_ra").strip() == "0"
        addresses = rows(netns.ip(f"-json -4 address show dev {DEVICE}"))[0]["addr_info"]
        assert isinstance(addresses, list)
        assert [(a["local"], a["prefixlen"]) for a in addresses] == [("10.0.0.0", 32)]


async def test_other_neighbours_of_the_device_are_pruned_with_the_first_full_update_only(
    netns: Namespace,
) -> None:
    add_underlay(netns)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        netns.ip(f"neigh add 10.0.77.0 lladdr 02:00:00:00:00:77 dev {DEVICE} nud permanent")
        await made.update(changed(peers(1)), full=False)
        assert "10.0.77.0" in neighbours(netns)
        await made.update(changed(peers(1)), full=True)
        assert holds(netns, peers(1))


def test_objects_are_equal_by_value() -> None:
    mac, address = MacAddress(bytes(6)), IPAddress(bytes(4))
    assert Neighbour(DEVICE, address, mac) == Neighbour(DEVICE, address, mac)
    assert FdbEntry(DEVICE, mac, address) != FdbEntry(DEVICE, mac, IPAddress(b"\1\2\3\4"))
