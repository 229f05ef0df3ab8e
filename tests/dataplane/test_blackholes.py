"""Blackhole routes on a real kernel: there, last in line, brought back, removed with the lease."""

import pytest

from flannel_sdk.dataplane import BLACKHOLE, Route
from flannel_sdk.model import Family, Prefix
from flannel_sdk.testing.namespaces import Namespace
from tests.dataplane.nodes import (
    add_underlay,
    changed,
    eventually,
    node_objects,
    peer,
    reconciler,
)

pytestmark = pytest.mark.root
FAMILIES = pytest.mark.parametrize("family", list(Family), ids=str)


def own(family: Family, number: int = 7) -> Prefix:
    return peer(number, family).subnet


def blackholes(netns: Namespace, family: Family) -> list[str]:
    """Destinations of blackholes, with whose they are."""
    flag = "-6 " if family is Family.IPV6 else ""
    shown = netns.ip(f"{flag}route show type blackhole table main")
    words = [line.split() for line in shown.splitlines()]
    return [f"{line[1]} {line[line.index('proto') + 1]}" for line in words if "proto" in line] + [
        line[1] for line in words if "proto" not in line
    ]


def way(netns: Namespace, family: Family) -> str:
    """What the kernel does with a packet to our subnet."""
    return netns.ip(f"route get {own(family).host(9)}").split("\n")[0]


@FAMILIES
async def test_d32_it_loses_against_a_bridge_and_comes_back(
    netns: Namespace, family: Family
) -> None:
    add_underlay(netns)
    subnet = own(family)
    async with reconciler(netns, running=True) as made:
        await made.set_node([*node_objects(family), Route(subnet, BLACKHOLE, None)])
        await made.update(changed([peer(1, family)]), full=True)
        assert blackholes(netns, family) == [f"{subnet} 102"]
        with pytest.raises(AssertionError):
            way(netns, family)
        written = made.status()["written"]
        await made.update(changed([peer(1, family)]), full=True)
        await made.audit()
        assert made.status()["written"] == written, "it is as it should be"
        assert [str(change.subject) for change in await made.plan()] == []

        netns.ip("link add cni0 type bridge")
        netns.ip(f"address add {subnet.host(1)}/{subnet.length} dev cni0")
        netns.ip("link set cni0 up")
        assert "dev cni0" in way(netns, family)
        assert blackholes(netns, family) == [f"{subnet} 102"]
        netns.ip("link delete cni0")

        netns.ip(f"route del blackhole {subnet} metric 2147483647")
        await eventually(lambda: blackholes(netns, family) == [f"{subnet} 102"])


@FAMILIES
async def test_it_goes_with_the_lease_and_with_the_option(netns: Namespace, family: Family) -> None:
    add_underlay(netns)
    for number in (7, 8):
        async with reconciler(netns) as made:
            hole = Route(own(family, number), BLACKHOLE, None)
            await made.set_node([*node_objects(family), hole])
            await made.update(changed([peer(1, family)]), full=True)
            assert blackholes(netns, family) == [f"{own(family, number)} 102"]
    async with reconciler(netns) as made:
        await made.set_node([*node_objects(family), Route(own(family, 9), BLACKHOLE, None)])
        await made.update(changed([peer(1, family)]), full=True)
        await made.set_node(node_objects(family))
        assert blackholes(netns, family) == []


@FAMILIES
async def test_flannelds_is_taken_over_and_routes_of_others_stay(
    netns: Namespace, family: Family
) -> None:
    """flanneld's has the best metric, so that a bridge that comes later gets nothing."""
    add_underlay(netns)
    subnet, device = own(family), "eth0-peer"
    netns.ip(f"route add blackhole {subnet} proto boot")
    netns.ip(f"route add {subnet} dev {device} proto static metric 77")
    async with reconciler(netns) as made:
        await made.set_node([*node_objects(family), Route(subnet, BLACKHOLE, None)])
        await made.update(changed([peer(1, family)]), full=True)
        assert blackholes(netns, family) == [f"{subnet} 102"]
        assert f"dev {device}" in way(netns, family)


@FAMILIES
async def test_a_subnet_that_a_peer_has_now_is_routed_to_it(
    netns: Namespace, family: Family
) -> None:
    add_underlay(netns)
    async with reconciler(netns) as made:
        await made.set_node([*node_objects(family), Route(own(family), BLACKHOLE, None)])
        await made.update(changed([peer(1, family)]), full=True)
    async with reconciler(netns) as made:
        await made.set_node([*node_objects(family), Route(own(family, 8), BLACKHOLE, None)])
        await made.update(changed([peer(7, family)]), full=True)
        assert blackholes(netns, family) == [f"{own(family, 8)} 102"]
        assert "dev flannel.1" in way(netns, family)
