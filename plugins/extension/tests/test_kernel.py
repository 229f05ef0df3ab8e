"""The README's commands on the real kernel: they work in the node's namespace and carry traffic."""

import contextlib
from collections.abc import Callable

import pytest
from flannel_sdk_extension import plugin

from flannel_sdk.interfaces import Network
from flannel_sdk.testing.namespaces import Namespace
from tests.overlay import V4, V6, Node, config, reaches, register, running, stream, underlay

pytestmark = pytest.mark.root

COMMANDS = {
    "SubnetAddCommand": "ip route replace $SUBNET via $PUBLIC_IP &&"
    " ip -6 route replace $IPV6SUBNET via $PUBLIC_IPV6",
    "SubnetRemoveCommand": ["ip", "route", "del", "$SUBNET"],
}


@pytest.fixture
def nodes(make_netns: Callable[[str], Namespace]) -> list[Node]:
    return underlay(make_netns)


async def join(node: Node) -> Network:
    settings = config("extension", V4, V6, **COMMANDS)
    network, _ = await register(plugin.create(node.context()), node, settings)
    return network


async def test_carries_whole_packets_both_ways_and_over_a_restart(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one), await join(two)
    async with running(second) as feed2, contextlib.AsyncExitStack() as traffic:
        await feed2.full([first.lease])
        async with running(first) as feed1:
            await feed1.full([second.lease])
            for family in (V4, V6):
                assert await reaches(one, two, family, size=1500)
                assert await reaches(two, one, family, size=1500)
            flow = await traffic.enter_async_context(stream(one, two, V4))
        async with running(await join(one)) as feed1:
            await feed1.full([second.lease])
            assert await reaches(one, two, V4)
        await traffic.aclose()
        assert flow.sent > 0
        assert flow.lost == set()
        async with running(await join(one)) as feed1:
            await feed1.full([second.lease])
            await feed1.change(removed=[second.lease.subnets])
        assert one.routes() == {}
