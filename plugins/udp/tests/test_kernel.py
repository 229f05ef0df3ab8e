"""udp on the real kernel, carried in userspace: traffic, restarts, repair, refused peers."""

from collections.abc import Callable

import pytest

from flannel_sdk.testing.namespaces import Namespace
from plugins.udp.tests.joining import join
from tests.overlay import V4, Node, config, reaches, running, underlay

pytestmark = pytest.mark.root


@pytest.fixture
def nodes(make_netns: Callable[[str], Namespace]) -> list[Node]:
    return underlay(make_netns)


async def test_carries_whole_pod_packets_both_ways(nodes: list[Node]) -> None:
    one, two = nodes
    settings = config("udp", V4, Datapath="userspace")
    first, second = await join(one, settings), await join(two, settings)
    assert first.mtu == second.mtu == 1472
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert await reaches(one, two, V4, size=1472)
        assert await reaches(two, one, V4, size=1472)
        assert not await reaches(one, two, V4, size=1473, seconds=0.2)
    assert one.fragments() == two.fragments() == 0
