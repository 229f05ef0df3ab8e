"""What somebody takes away or changes comes back, at once, with everything that depends on it."""

import asyncio

import pytest

from flannel_sdk.dataplane import Ownership, Reconciler, Route
from flannel_sdk.errors import KernelRefused
from flannel_sdk.model import Family
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
    peers,
    reconciler,
    routes,
    routes_to,
    rows,
)

pytestmark = pytest.mark.root


async def settled(netns: Namespace, made: Reconciler, family: Family = Family.IPV4) -> None:
    """A node with three peers, everything in place, and no comparison under way."""
    await made.set_node(node_objects(family))
    await made.update(changed(peers(3, family)), full=True)
    assert holds(netns, peers(3, family), family)


THEFTS = {
    "route": "ip route delete 10.0.2.0/24",
    "route replaced": "ip route replace 10.0.2.0/24 via 192.168.0.9 dev eth0",
    "routes flushed": "ip route flush proto 102",
    "route beside": "ip route add 10.0.2.0/24 via 192.168.0.9 dev eth0 proto static metric 1",
    "route beside of our protocol": "ip route add 10.0.2.0/24 via 192.168.0.9 dev eth0 proto 102",
    "route beside that loses": f"ip route add 10.0.2.0/24 dev {DEVICE} metric 70000",
    "route to nowhere": "ip route add blackhole 10.0.2.0/24",
    "route of several ways": "ip route add 10.0.2.0/24 nexthop via 192.168.0.8 dev eth0"
    " nexthop via 192.168.0.9 dev eth0",
    "route as of old": f"ip route add 10.0.2.0/24 via 10.0.2.0 dev {DEVICE} onlink proto 102",
    "neighbour": f"ip neigh delete 10.0.2.0 dev {DEVICE}",
    "neighbour changed": f"ip neigh replace 10.0.2.0 lladdr 02:66:00:00:00:01 dev {DEVICE}",
    "neighbours flushed": f"ip neigh flush dev {DEVICE} nud permanent",
    "fdb": f"bridge fdb delete 02:00:00:00:00:02 dev {DEVICE}",
    "fdb changed": f"bridge fdb replace 02:00:00:00:00:02 dev {DEVICE} dst 192.168.0.9",
    "fdb doubled": f"bridge fdb append 02:00:00:00:00:02 dev {DEVICE} dst 192.168.0.9",
    "device down": f"ip link set {DEVICE} down",
    "device deleted": f"ip link delete {DEVICE}",
    "device mtu": f"ip link set {DEVICE} mtu 1200",
    "device mac": f"ip link set {DEVICE} address 02:66:00:00:00:02",
    "address": f"ip address delete 10.0.0.0/32 dev {DEVICE}",
    "address added": f"ip address add 10.6.6.6/32 dev {DEVICE}",
    "underlay down and up": "ip link set eth0 down",
}


def whole(netns: Namespace) -> bool:
    try:
        link = device(netns)
        addresses = rows(netns.ip(f"-json -4 address show dev {DEVICE}"))[0]["addr_info"]
        assert isinstance(addresses, list)
    except (AssertionError, IndexError):
        return False
    return (
        holds(netns, peers(3))
        and len(rows(netns.bridge(f"-json fdb show dev {DEVICE}"))) == 3
        and (link["mtu"], link["address"]) == (1430, str(OWN_MAC))
        and [address["local"] for address in addresses] == ["10.0.0.0"]
        and all(len(routes_to(netns, one.subnet)) == 1 for one in peers(3))
    )


@pytest.mark.parametrize("theft", THEFTS, ids=lambda name: name.replace(" ", "-"))
async def test_a_theft_is_repaired_at_once(netns: Namespace, theft: str) -> None:
    add_underlay(netns)
    async with reconciler(netns, running=True) as made:
        await settled(netns, made)
        audits = made.status()["audits"]
        program, _, arguments = THEFTS[theft].partition(" ")
        await asyncio.to_thread(netns.ip if program == "ip" else netns.bridge, arguments)
        if theft.startswith("underlay"):
            await asyncio.to_thread(netns.ip, "link set eth0 up")
        await eventually(lambda: whole(netns), 3)
        if theft in ("route", "neighbour", "fdb", "fdb changed"):
            assert made.status()["audits"] == audits, "one object needs no full comparison"
        assert made.status()["failed"] == {"count": 0, "reasons": {}}


async def test_one_theft_is_repaired_within_fifty_milliseconds(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns, running=True) as made:
        await settled(netns, made)
        loop = asyncio.get_running_loop()
        times = []
        for theft in (THEFTS["route"], THEFTS["neighbour"]):
            repaired = made.status()["repaired"]
            await asyncio.to_thread(netns.ip, theft.removeprefix("ip "))
            start = loop.time()
            while made.status()["repaired"] == repaired:
                await asyncio.sleep(0.0005)
                assert loop.time() < start + 3
            times.append(loop.time() - start)
        assert min(times) < 0.05
        await eventually(lambda: whole(netns))


@pytest.mark.parametrize("family", list(Family), ids=str)
async def test_the_lower_device_goes_and_comes_back(netns: Namespace, family: Family) -> None:
    add_underlay(netns)
    async with reconciler(netns, running=True) as made:
        await settled(netns, made, family)
        await asyncio.to_thread(netns.ip, "link delete eth0")
        await eventually(lambda: made.status()["node_problem"] is not None)
        assert "eth0 does not exist" in str(made.status()["node_problem"])
        await asyncio.to_thread(add_underlay, netns)
        await eventually(lambda: holds_or_not_yet(netns, family), 6)
        assert device(netns)["address"] == str(OWN_MAC)
        assert made.status()["node_problem"] is None


def holds_or_not_yet(netns: Namespace, family: Family) -> bool:
    try:
        return holds(netns, peers(3, family), family)
    except AssertionError:
        return False


async def test_d15_lost_notices_end_in_a_full_comparison(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns, running=True, notice_buffer=1) as made:
        await made.set_node(node_objects())
        await made.update(changed(peers(300)), full=True)
        # More changes than the buffer holds, while the event loop does not read.
        netns.ip("route flush proto 102")
        netns.ip(f"neigh flush dev {DEVICE} nud permanent")
        await eventually(lambda: holds(netns, peers(300)))
        audits = made.status()["audits"]
        assert isinstance(audits, int)
        assert audits >= 1


async def test_somebody_who_fights_us_is_met_ever_later(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns, running=True) as made:
        await settled(netns, made)
        loop = asyncio.get_running_loop()
        start = loop.time()
        thefts = 0
        while loop.time() - start < 1.5:
            if "10.0.2.0/24" in await asyncio.to_thread(routes, netns):
                await asyncio.to_thread(netns.ip, "route delete 10.0.2.0/24")
                thefts += 1
        repaired = made.status()["repaired"]
        assert isinstance(repaired, dict)
        assert repaired["route"] <= 9, "3 at once, then after 0.1, 0.2, 0.4, 0.8 s"
        suppressed = made.status()["suppressed"]
        assert isinstance(suppressed, int)
        assert suppressed >= 1
        assert thefts >= 3
        await eventually(lambda: holds(netns, peers(3)))


async def test_somebody_who_fights_for_the_device_is_met_ever_later(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns, running=True) as made:
        await settled(netns, made)
        for number in range(40):
            mac = f"02:66:00:00:00:{number:02x}"
            await asyncio.to_thread(netns.ip, f"link set {DEVICE} address {mac}")
        repaired = made.status()["repaired"]
        assert isinstance(repaired, dict)
        assert repaired["device"] <= 8, "5 at once, then one a second"
        await eventually(lambda: whole(netns))


async def test_a_change_unheard_is_found_by_the_audit(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns, running=True, audit_interval=0.2) as made:
        await settled(netns, made)
        netns.ip(f"neigh add 10.0.9.0 lladdr 02:00:00:00:00:09 dev {DEVICE} nud permanent")
        netns.bridge(f"fdb add 02:00:00:00:00:09 dev {DEVICE} dst 192.168.0.9 self permanent")
        await eventually(lambda: "10.0.9.0" not in neighbours(netns) and len(fdb(netns)) == 3)


async def test_routes_wait_for_their_device(netns: Namespace) -> None:
    one = peers(1)[0]
    async with reconciler(netns, running=True, ownership=Ownership()) as made:
        await made.update([(one.key, [Route(one.subnet, "eth0", one.public)])], full=True)
        assert made.status()["absent_devices"] == ["eth0"]
        await asyncio.to_thread(add_underlay, netns)
        await eventually(lambda: str(one.subnet) in routes(netns))
        assert made.status()["absent_devices"] == []


async def test_a_missing_lower_device_is_one_sentence(netns: Namespace) -> None:
    async with reconciler(netns) as made:
        with pytest.raises(KernelRefused, match="eth0 does not exist"):
            await made.set_node(node_objects())


async def test_changes_of_the_underlay_are_reported(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns, running=True) as made:
        await settled(netns, made)
        # What making the node itself caused may be reported once.
        while True:
            try:
                async with asyncio.timeout(0.3):
                    await made.wait_underlay_change()
            except TimeoutError:
                break
        for change in (
            "route add 198.51.100.0/24 via 192.168.0.9",
            "address add 192.168.7.7/24 dev eth0",
            "link add new0 type bridge",
        ):
            await asyncio.to_thread(netns.ip, change)
            async with asyncio.timeout(3):
                await made.wait_underlay_change()
        await made.update(changed(peers(4)), full=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await made.wait_underlay_change()


async def test_routes_on_an_underlay_device_that_loses_its_address_come_back(
    netns: Namespace,
) -> None:
    add_underlay(netns)
    one = peers(1)[0]
    ownership = Ownership(networks=OWNERSHIP.networks)
    async with reconciler(netns, running=True, ownership=ownership) as made:
        await made.update([(one.key, [Route(one.subnet, "eth0", one.public)])], full=True)
        await asyncio.to_thread(netns.ip, "address delete 192.168.0.1/16 dev eth0")
        await eventually(lambda: routes(netns) == {})
        await asyncio.to_thread(netns.ip, "address add 192.168.0.1/16 dev eth0")
        await eventually(lambda: str(one.subnet) in routes(netns), 2)


async def test_somebody_who_keeps_adding_a_route_beside_ours_is_met_ever_later(
    netns: Namespace,
) -> None:
    add_underlay(netns)
    beside = "route add 10.0.2.0/24 via 192.168.0.9 dev eth0 proto static"
    subnet = peers(2)[1].subnet
    async with reconciler(netns, running=True) as made:
        await settled(netns, made)
        loop = asyncio.get_running_loop()
        start = loop.time()
        while loop.time() - start < 1.5:
            if len(await asyncio.to_thread(routes_to, netns, subnet)) == 1:
                await asyncio.to_thread(netns.ip, beside)
        repaired = made.status()["repaired"]
        assert isinstance(repaired, dict)
        assert 3 <= repaired["route"] <= 9, "3 at once, then after 0.1, 0.2, 0.4, 0.8 s"
        await eventually(lambda: whole(netns))
