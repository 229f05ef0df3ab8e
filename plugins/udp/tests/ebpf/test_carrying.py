"""The kernel's data path between two nodes: what it carries, and that it is the kernel's doing."""

import socket
from collections.abc import Callable
from dataclasses import replace

import pytest
from flannel_sdk_udp.datapath import Counter

from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.testing.waiting import eventually
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
        size = 100_000_000 if offloads else 20_000_000
        assert await copied(one, two, size)
        # what is counted is what is on a wire, where each segment has headers
        assert counted(first, "kernel", Counter.SENT_PACKETS) >= size // 1432
        assert counted(first, "kernel", Counter.SENT_BYTES) >= size * 1472 // 1432
        assert counted(second, "kernel", Counter.RECEIVED_BYTES) >= size * 1472 // 1432
        assert counted(first, "userspace", Counter.SENT_PACKETS) == 0
        assert counted(second, "userspace", Counter.RECEIVED_PACKETS) == 0


async def test_a_node_in_the_kernel_and_one_in_userspace_understand_each_other(
    nodes: list[Node],
) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, USERSPACE)
    assert second.lease.attrs.backend_data.ipv4 is None, "what flannel's nodes publish"
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert await copied(one, two, 3_000_000)
        assert await copied(two, one, 3_000_000)
        assert await reaches(one, two, V4, size=1472)
        assert await reaches(two, one, V4, size=1472)
        assert counted(first, "kernel", Counter.RECEIVED_PACKETS) > 0


async def test_fragments_of_a_pods_packet_arrive(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        payload = bytes(range(256)) * 40
        with two.netns.call(udp_socket) as receiver, one.netns.call(udp_socket) as sender:
            receiver.bind((str(two.pods.ipv4), 0))
            sender.bind((str(one.pods.ipv4), 0))
            sender.sendto(payload, receiver.getsockname())
            assert receiver.recv(65535) == payload
        assert counted(first, "kernel", Counter.SENT_PACKETS) >= 8


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


async def test_no_packet_is_lost_when_other_peers_come_and_go(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    other = Node(3, one.netns, one.switch)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert await reaches(one, two, V4)
        async with stream(one, two, V4) as flow:
            for _ in range(20):
                await feed1.change([replace(second.lease, subnets=other.subnets)])
                await feed1.change(removed=[other.subnets])
                await feed1.full([second.lease])
    assert flow.lost == set()


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


async def test_an_unknown_destination_is_our_process_matter(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed1:
        await feed1.full([second.lease])
        with one.netns.call(udp_socket) as sender:
            sender.bind((str(one.pods.ipv4), 0))
            sender.sendto(b"anybody there?", ("10.5.77.7", 9))
        await eventually(
            lambda: counted(first, "userspace", Counter.DROPPED_NO_PEER) == 1, "the drop"
        )
        assert counted(first, "kernel", Counter.SENT_PACKETS) == 0


async def test_a_hop_limit_that_ends_here_is_our_process_matter(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        with one.netns.call(udp_socket) as sender:
            sender.bind((str(one.pods.ipv4), 0))
            for ttl in (1, 2):
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                sender.sendto(b"x", (str(two.pods.ipv4), 9))

        def ended() -> list[int]:
            return [counted(node, "userspace", Counter.DROPPED_TTL) for node in (first, second)]

        await eventually(lambda: ended() == [1, 1], "the drops")
        assert counted(first, "kernel", Counter.SENT_PACKETS) == 1


async def more(flow: Stream, packets: int) -> None:
    """Return when that many more are sent."""
    goal = flow.sent + packets
    await eventually(lambda: flow.sent >= goal, f"{packets} packets more", 10.0)


def udp_socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(3)
    return made
