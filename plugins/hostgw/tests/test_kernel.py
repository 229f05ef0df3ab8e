"""host-gw on the real kernel: traffic, repair, and gateways that the kernel refuses."""

import contextlib
from collections.abc import Callable

import pytest
from flannel_sdk_hostgw import plugin

from flannel_sdk.interfaces import Network
from flannel_sdk.model import ByFamily, IPAddress, Lease, LeaseAttrs, NetworkConfig, Prefix
from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.testing.waiting import eventually
from tests.overlay import V4, V6, Node, config, reaches, register, running, stream, told, underlay

pytestmark = pytest.mark.root


@pytest.fixture
def nodes(make_netns: Callable[[str], Namespace]) -> list[Node]:
    return underlay(make_netns)


async def join(node: Node, settings: NetworkConfig) -> Network:
    network, _ = await register(plugin.create(node.context()), node, settings)
    return network


def peer(number: int, gateway: str) -> Lease:
    return Lease(
        ByFamily(Prefix.parse(f"10.5.{number}.0/24")),
        LeaseAttrs(ByFamily(IPAddress.parse(gateway)), "host-gw"),
    )


async def test_carries_whole_packets_both_ways(nodes: list[Node]) -> None:
    one, two = nodes
    settings = config("host-gw", V4, V6)
    first, second = await join(one, settings), await join(two, settings)
    assert first.mtu == 1500
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        for family in (V4, V6):
            assert await reaches(one, two, family, size=1500)
            assert await reaches(two, one, family, size=1500)
        assert one.routes(V4) == {"10.5.2.0/24": "192.0.2.2"}
        assert one.routes(V6) == {"fd00:5:0:2::/64": "2001:db8::2"}
    assert await reaches(one, two, V4)


async def test_d13_lost_routes_come_back_and_stale_ones_go(nodes: list[Node]) -> None:
    node = nodes[0]
    settings = config("host-gw", V4)
    node.ip("route add 10.9.0.0/16 via 192.0.2.50 dev eth0")
    async with running(await join(node, settings)) as feed:
        await feed.full([peer(2, "192.0.2.2"), peer(3, "192.0.2.3")])
        node.ip("route del 10.5.2.0/24")
        await eventually(lambda: "10.5.2.0/24" in node.routes(), "the route is back", 1.0)
    async with running(await join(node, settings)) as feed:
        await feed.full([peer(3, "192.0.2.3")])
        assert node.routes() == {"10.5.3.0/24": "192.0.2.3"}
    assert "10.9.0.0/16" in str(node.show("route show"))


async def test_no_packet_is_lost_over_a_restart(nodes: list[Node]) -> None:
    one, two = nodes
    settings = config("host-gw", V4)
    first, second = await join(one, settings), await join(two, settings)
    async with running(second) as feed2:
        await feed2.full([first.lease])
        async with contextlib.AsyncExitStack() as traffic:
            async with running(first) as feed1:
                await feed1.full([second.lease])
                assert await reaches(one, two, V4)
                flow = await traffic.enter_async_context(stream(one, two, V4))
            async with running(await join(one, settings)) as feed1:
                before = flow.sent
                await feed1.full([second.lease])
                await eventually(lambda: flow.sent > before + 50, "traffic goes on")
    assert flow.sent > 50
    assert flow.lost == set()


async def test_the_underlay_interface_may_go_and_come_back(nodes: list[Node]) -> None:
    one, two = nodes
    settings = config("host-gw", V4, V6)
    first, second = await join(one, settings), await join(two, settings)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        one.ip("link del eth0")
        one.plug()
        for family in (V4, V6):
            assert await reaches(one, two, family, seconds=10)


async def test_d25_a_replaced_gateway_stays_replaced(nodes: list[Node]) -> None:
    node = nodes[0]
    async with running(await join(node, config("host-gw", V4))) as feed:
        await feed.full([peer(2, "192.0.2.2")])
        await feed.change([peer(2, "192.0.2.22")])
        assert node.routes() == {"10.5.2.0/24": "192.0.2.22"}
        node.ip("route del 10.5.2.0/24")
        await eventually(lambda: bool(node.routes()), "the route is back")
        assert node.routes() == {"10.5.2.0/24": "192.0.2.22"}


async def test_flanneld_is_taken_over_without_a_lost_packet(nodes: list[Node]) -> None:
    one, two = nodes
    for node, other in ((one, two), (two, one)):
        for family in (V4, V6):
            subnet, gateway = other.subnets.get(family), other.public_ips.get(family)
            node.ip(f"{'-4' if family is V4 else '-6'} route add {subnet} via {gateway} dev eth0")
    first = await join(one, config("host-gw", V4, V6))
    second = await join(two, config("host-gw", V4, V6))
    async with contextlib.AsyncExitStack() as traffic:
        flows = [await traffic.enter_async_context(stream(one, two, f)) for f in (V4, V6)]
        await eventually(lambda: all(flow.sent > 20 for flow in flows), "some packets")
        feed1 = await traffic.enter_async_context(running(first))
        feed2 = await traffic.enter_async_context(running(second))
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        sent = [flow.sent for flow in flows]
        await eventually(
            lambda: all(f.sent > n + 20 for f, n in zip(flows, sent, strict=True)), "some more"
        )
    assert [flow.lost for flow in flows] == [set(), set()]
    for family in (V4, V6):
        shown = one.show(f"{'-4' if family is V4 else '-6'} route show {two.subnets.get(family)}")
        assert [row["protocol"] for row in shown] == ["102"]


async def test_d25_all_routes_of_a_prefix_are_looked_at(nodes: list[Node]) -> None:
    node = nodes[0]
    node.ip("route add 10.5.2.0/24 via 192.0.2.90 dev eth0")
    node.ip("route add 10.5.2.0/24 via 192.0.2.91 dev eth0 metric 500")
    node.ip("route add 10.5.2.0/24 via 192.0.2.92 dev eth0 metric 70000")
    async with running(await join(node, config("host-gw", V4))) as feed:
        await feed.full([peer(2, "192.0.2.2")])
        rows = node.show("-4 route show 10.5.2.0/24")
        # Those that would win go; one that loses is somebody else's.
        assert [row.get("gateway") for row in rows] == ["192.0.2.2", "192.0.2.92"]


async def test_a_gateway_off_the_link_is_reported_and_heals_and_harms_no_other(
    nodes: list[Node],
) -> None:
    node = nodes[0]
    network = await join(node, config("host-gw", V4))
    async with running(network) as feed:
        await feed.full([peer(8, "198.51.100.8"), peer(2, "192.0.2.2")])
        assert node.routes() == {"10.5.2.0/24": "192.0.2.2"}
        assert told(network, "failed", "count") == 1
        node.ip("addr add 198.51.100.1/24 dev eth0")
        await eventually(lambda: "10.5.8.0/24" in node.routes(), "it was tried again", 20.0)
        await eventually(lambda: told(network, "failed", "count") == 0, "nothing is failed")
