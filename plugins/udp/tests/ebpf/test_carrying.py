"""The kernel's data path between two nodes: what it carries, and that it is the kernel's doing."""

from collections.abc import Callable

import pytest
from flannel_sdk_udp.datapath import Counter

from flannel_sdk.interfaces import Network
from flannel_sdk.testing.namespaces import Namespace
from plugins.udp.tests.joining import join
from tests.overlay import V4, Node, config, reaches, running, told, underlay

pytestmark = pytest.mark.root


@pytest.fixture
def nodes(make_netns: Callable[[str], Namespace]) -> list[Node]:
    return underlay(make_netns)


def counted(network: Network, path: str, counter: Counter) -> int:
    number = told(network, "datapath", "counters", path, counter.name.lower())
    assert isinstance(number, int)
    return number


async def test_the_kernel_carries_whole_pod_packets_both_ways(nodes: list[Node]) -> None:
    one, two = nodes
    settings = config("udp", V4, Datapath="kernel")
    first, second = await join(one, settings), await join(two, settings)
    assert first.mtu == second.mtu == 1472
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert await reaches(one, two, V4, size=1472)
        assert await reaches(two, one, V4, size=1472)
        assert not await reaches(one, two, V4, size=1473, seconds=0.2)
        for network in (first, second):
            assert counted(network, "kernel", Counter.SENT_PACKETS) >= 1
            assert counted(network, "kernel", Counter.RECEIVED_PACKETS) >= 1
            assert counted(network, "userspace", Counter.SENT_PACKETS) == 0
            assert counted(network, "userspace", Counter.RECEIVED_PACKETS) == 0
    assert one.fragments() == two.fragments() == 0
