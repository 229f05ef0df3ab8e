"""The kernel's data path between two nodes: what it carries, and that it is the kernel's doing."""

import asyncio
import socket
from collections.abc import Callable

import pytest
from flannel_sdk_udp.datapath import Counter

from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.testing.waiting import eventually
from plugins.udp.tests.ebpf import frames
from plugins.udp.tests.ebpf.pods import copied, counted, without_offloads
from plugins.udp.tests.joining import join
from tests.overlay import V4, Node, Stream, config, reaches, running, stream, underlay

pytestmark = pytest.mark.root
KERNEL, USERSPACE = (
    config("udp", V4, Datapath="kernel"),
    config("udp", V4, Datapath="userspace"),
)


@pytest.fixture
def nodes(make_netns: Callable[[str], Namespace]) -> list[Node]:
    return underlay(make_netns)


async def test_the_kernel_carries_whole_pod_packets_both_ways(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
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


@pytest.mark.parametrize("offloads", [True, False], ids=["offloads", "no offloads"])
async def test_a_long_stream_arrives_whole(nodes: list[Node], offloads: bool) -> None:
    one, two = nodes
    if not offloads:
        for node in nodes:
            without_offloads(node)
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        size = 20_000_000
        assert await copied(one, two, size)
        # what is counted is what is on a wire, where each segment has headers
        assert counted(first, "kernel", Counter.SENT_PACKETS) >= size // 1432
        assert counted(first, "kernel", Counter.SENT_BYTES) >= size * 1472 // 1432
        assert counted(second, "kernel", Counter.RECEIVED_BYTES) >= size * 1472 // 1432
        assert counted(first, "userspace", Counter.SENT_PACKETS) == 0
        assert counted(second, "userspace", Counter.RECEIVED_PACKETS) == 0


async def test_a_route_that_grows_narrow_is_seen(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert await reaches(one, two, V4, size=1472)
        one.ip("route add 192.0.2.2/32 dev eth0 mtu 1300")
        async with asyncio.timeout(10):
            while await reaches(one, two, V4, size=1472):  # noqa: ASYNC110  # sends each time
                await asyncio.sleep(0.05)
        await eventually(
            lambda: counted(first, "userspace", Counter.DROPPED_TOO_BIG) > 0, "the count"
        )
        assert await reaches(one, two, V4, size=1272)


async def test_what_a_router_says_of_its_mtu_is_heard(nodes: list[Node]) -> None:
    one, two = nodes
    one.netns.exec("sysctl -qw net.ipv4.ip_forward=1")  # as where there are pods
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert await reaches(one, two, V4, size=1472)
        datagram = frames.ipv4(frames.udp(bytes(1472)), source=frames.HERE, destination=frames.PEER)
        too_big = b"\3\4" + bytes(4) + (1300).to_bytes(2, "big") + datagram[:28]
        too_big = too_big[:2] + (0xFFFF - frames.ones_sum(too_big)).to_bytes(2, "big") + too_big[4:]
        with two.netns.call(icmp_socket) as router:
            router.sendto(too_big, ("192.0.2.1", 0))
        await eventually(
            lambda: "mtu 1300" in one.netns.ip("route get 192.0.2.2"), "the route's MTU"
        )
        assert not await reaches(one, two, V4, size=1472, seconds=1)
        assert await reaches(one, two, V4, size=1272)
        await eventually(
            lambda: counted(first, "userspace", Counter.DROPPED_TOO_BIG) > 0, "the count"
        )


async def test_a_tunnel_of_a_pods_own_goes_through(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        for node, other in ((one, two), (two, one)):
            ends = f"local {node.pods.ipv4} remote {other.pods.ipv4}"
            node.ip(f"link add inside type vxlan id 7 dstport 4789 {ends} dev flannel0")
            node.ip(f"address add 172.20.0.{node.number}/24 dev inside")
            node.ip("link set inside up")
        assert await copied(one, two, 1_000_000, between="172.20.0")
        # the kernel cannot wrap a large packet twice, so those are cut and go another way
        assert counted(first, "kernel", Counter.SENT_PACKETS) > 0


async def test_no_packet_is_lost_while_no_process_is_there(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(second) as feed2:
        async with running(first) as feed1:
            await feed1.full([second.lease])
            await feed2.full([first.lease])
            assert await reaches(one, two, V4)
        async with stream(one, two, V4) as there, stream(two, one, V4) as back:
            await more(there, 200)
            first = await join(one, KERNEL)
            async with running(first) as feed1:
                await feed1.full([second.lease])
                await more(there, 100)
                assert counted(first, "kernel", Counter.SENT_PACKETS) > 0
                assert counted(first, "userspace", Counter.SENT_PACKETS) == 0
    assert (there.lost, back.lost) == (set(), set())


async def test_no_packet_is_lost_when_a_neighbour_has_to_be_found_again(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert await reaches(one, two, V4)
        async with stream(one, two, V4) as flow:
            for _ in range(5):
                one.ip(f"neigh delete {two.public_ips.ipv4} dev eth0")
                await more(flow, 20)
        assert counted(first, "userspace", Counter.SENT_PACKETS) == 0
    assert flow.lost == set()


async def more(flow: Stream, packets: int) -> None:
    """Return when that many more are sent."""
    goal = flow.sent + packets
    await eventually(lambda: flow.sent >= goal, f"{packets} packets more", 10.0)


def icmp_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
