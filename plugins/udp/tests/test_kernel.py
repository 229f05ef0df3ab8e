"""udp on the real kernel, every pair of data paths: what is carried, and what is not and why."""

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.testing.waiting import eventually
from plugins.udp.tests.flows import (
    arrives_unchanged,
    bound,
    datagram_arrives,
    pod,
    told_by_icmp,
)
from plugins.udp.tests.joining import PAIRS, count, pair, peer
from plugins.udp.tests.segments import ipv4
from tests.overlay import V4, Node, reaches, stream, told, underlay

pytestmark = pytest.mark.root
PATIENCE = 20.0


@pytest.fixture
def nodes(make_netns: Callable[[str], Namespace]) -> list[Node]:
    return underlay(make_netns)


def forward() -> None:
    Path("/proc/sys/net/ipv4/conf/all/forwarding").write_text("1", encoding="ascii")


@pytest.fixture(params=PAIRS)
def paths(request: pytest.FixtureRequest) -> tuple[str, str]:
    return PAIRS[str(request.param)]


async def test_carries_whole_pod_packets_both_ways(
    nodes: list[Node], paths: tuple[str, str]
) -> None:
    one, two = nodes
    async with pair(nodes, paths) as made:
        assert [network.mtu for network in made.networks] == [1472, 1472]
        assert [told(network, "datapath", "path") for network in made.networks] == [*paths]
        assert await reaches(one, two, V4, size=1472)
        assert await reaches(two, one, V4, size=1472)
        assert not await reaches(one, two, V4, size=1473, seconds=0.2)
    assert one.fragments() == two.fragments() == 0


async def test_100_megabytes_arrive_unchanged(nodes: list[Node], paths: tuple[str, str]) -> None:
    one, two = nodes
    async with pair(nodes, paths):
        assert await asyncio.to_thread(arrives_unchanged, one, two, 100_000_000)


async def test_both_ways_at_once(nodes: list[Node], paths: tuple[str, str]) -> None:
    one, two = nodes
    async with pair(nodes, paths):
        results = await asyncio.gather(
            asyncio.to_thread(arrives_unchanged, one, two, 3_000_001),
            asyncio.to_thread(arrives_unchanged, two, one, 3_000_001),
        )
    assert all(results)


async def test_fragments_arrive_whole(nodes: list[Node], paths: tuple[str, str]) -> None:
    one, two = nodes
    async with pair(nodes, paths):
        for size in (1473, 5000, 65507):
            assert await asyncio.to_thread(datagram_arrives, one, two, size)


@pytest.mark.parametrize("size", [7, 1001, 1444])
async def test_datagrams_sent_in_one_call_arrive_each(
    nodes: list[Node], paths: tuple[str, str], size: int
) -> None:
    """By UDP_SEGMENT, as QUIC does: they leave the pod as one large packet."""
    one, two = nodes
    data = b"".join(bytes([number]) * size for number in range(20)) + b"last"
    loop = asyncio.get_running_loop()
    async with pair(nodes, paths):
        assert await reaches(one, two, V4)
        with bound(one.netns, pod(one)) as sender, bound(two.netns, pod(two)) as receiver:
            receiver.setblocking(False)
            cut = [(socket.IPPROTO_UDP, 103, size.to_bytes(2, sys.byteorder))]
            sender.sendmsg([data], cut, 0, receiver.getsockname())
            async with asyncio.timeout(PATIENCE):
                arrived = [await loop.sock_recv(receiver, 2000) for _ in range(21)]
    assert sorted(arrived) == sorted(data[at : at + size] for at in range(0, len(data), size))


async def test_time_to_live_costs_one_at_each_end_and_its_end_is_told(
    nodes: list[Node], paths: tuple[str, str]
) -> None:
    one, two = nodes
    async with pair(nodes, paths) as made:
        for ttl, router in ((1, "10.5.1.0"), (2, "10.5.2.0")):
            told = await asyncio.to_thread(told_by_icmp, one, pod(two), ttl=ttl)
            assert told == (errno.EHOSTUNREACH, router, 0)
        assert count(made.networks[0], "dropped_ttl") == 1
        assert count(made.networks[1], "dropped_ttl") == 1


async def test_an_unknown_destination_is_told_to_the_sender(
    nodes: list[Node], paths: tuple[str, str]
) -> None:
    async with pair(nodes, paths) as made:
        told = await asyncio.to_thread(told_by_icmp, nodes[0], "10.5.77.1")
        assert told == (errno.ENETUNREACH, "10.5.1.0", 0)
        assert count(made.networks[0], "dropped_no_peer") == 1


async def test_the_mtu_of_a_narrow_way_is_told_and_fragments_go_it(
    nodes: list[Node], paths: tuple[str, str]
) -> None:
    one, two = nodes
    one.ip("route add 192.0.2.2/32 dev eth0 mtu lock 1300")
    one.netns.call(forward)  # as any node does; eBPF is not told of a route's MTU without
    async with pair(nodes, paths):
        told = await asyncio.to_thread(told_by_icmp, one, pod(two), size=1472)
        assert told == (errno.EMSGSIZE, "10.5.1.0", 1272)
        assert await asyncio.to_thread(arrives_unchanged, one, two, 1_000_000)
        assert await asyncio.to_thread(datagram_arrives, one, two, 1400)


async def test_only_a_peer_is_heard_and_only_from_its_own_subnet(
    make_netns: Callable[[str], Namespace], paths: tuple[str, str]
) -> None:
    *nodes, stranger = underlay(make_netns, nodes=3)
    async with pair(nodes, paths) as made:
        network = made.networks[1]
        good, spoofed = (
            ipv4(b"x", source=f"10.5.{n}.2", destination=pod(nodes[1])) for n in (1, 7)
        )
        with bound(stranger.netns, str(stranger.public_ips.get(V4))) as sender:
            sender.sendto(good, ("192.0.2.2", 8285))
        # From another port, for ours is taken: a peer is known by its address alone.
        with bound(nodes[0].netns, str(nodes[0].public_ips.get(V4))) as sender:
            sender.sendto(spoofed, ("192.0.2.2", 8285))
            sender.sendto(b"\x60" + bytes(60), ("192.0.2.2", 8285))
            sender.sendto(good[:-1], ("192.0.2.2", 8285))
        for reason in ("unknown_source", "foreign_source", "not_ipv4", "malformed"):
            await eventually(
                lambda reason=reason: count(network, f"dropped_{reason}") >= 1,  # type: ignore[misc]  # bound now
                f"a packet dropped as {reason}",
            )
        assert await reaches(nodes[0], nodes[1], V4)


async def test_no_packet_is_lost_while_other_peers_change(
    nodes: list[Node], paths: tuple[str, str]
) -> None:
    one, two = nodes
    async with pair(nodes, paths) as made, stream(one, two, V4) as flow:
        for number in range(10, 60):
            await made.feeds[0].change([peer(number)], [peer(number - 1).subnets])
            await made.feeds[1].full([made.networks[0].lease, peer(number)])
            await asyncio.sleep(0)
        await eventually(lambda: flow.sent > 100, "enough packets")
    assert not flow.lost


async def test_a_peer_that_is_gone_is_neither_sent_to_nor_heard(
    nodes: list[Node], paths: tuple[str, str]
) -> None:
    one, two = nodes
    async with pair(nodes, paths) as made:
        await made.feeds[0].change(removed=[made.networks[1].lease.subnets])
        assert not await reaches(one, two, V4, seconds=0.3)
        assert not await reaches(two, one, V4, seconds=0.3)
        assert count(made.networks[0], "dropped_no_peer") >= 1
        assert count(made.networks[0], "dropped_unknown_source") >= 1
        await made.feeds[0].change([made.networks[1].lease])
        assert await reaches(one, two, V4)
        assert await reaches(two, one, V4)


async def test_a_deleted_device_comes_back_with_all_that_hung_on_it(
    nodes: list[Node], paths: tuple[str, str]
) -> None:
    one, two = nodes
    async with pair(nodes, paths):
        for node in nodes:
            node.ip("link del flannel0")
            assert await reaches(one, two, V4, size=1472)
            assert await reaches(two, one, V4, size=1472)
        assert one.routes() == {"10.5.0.0/16": None}


@pytest.mark.parametrize("path", ["userspace", "kernel"])
async def test_a_renamed_device_is_another_one(nodes: list[Node], path: str) -> None:
    one, two = nodes
    async with pair(nodes, (path, path)):
        one.ip("link set flannel0 down")
        one.ip("link set flannel0 name other")
        one.ip("link set other up")
        await eventually(lambda: one.device("flannel0") is not None, "a new device")
        async with asyncio.timeout(PATIENCE):
            while not await reaches(one, two, V4):
                pass
        assert await reaches(two, one, V4)


async def test_a_restart_takes_over_the_device(nodes: list[Node], paths: tuple[str, str]) -> None:
    one, two = nodes
    async with pair(nodes, paths):
        before = one.device("flannel0")
    async with pair(nodes, paths):
        after = one.device("flannel0")
        assert await asyncio.to_thread(arrives_unchanged, one, two, 1_000_000)
    assert before is not None
    assert after is not None
    assert before["ifindex"] == after["ifindex"]


async def test_peers_that_are_down_do_not_cost_the_others(nodes: list[Node]) -> None:
    """Packets for them wait for their neighbours, in the buffer of the one socket."""
    one, two = nodes
    dead = range(70, 90)
    async with pair(nodes, PAIRS["userspace"]) as made:
        await made.feeds[0].change([peer(number) for number in dead])
        with one.netns.call(_eager) as flood:
            async with stream(one, two, V4) as flow:
                for number in range(2000):
                    with contextlib.suppress(BlockingIOError):
                        flood.sendto(bytes(1000), (f"10.5.{dead[number % 20]}.5", 9))
                    await asyncio.sleep(0.001)
    assert len(flow.lost) < flow.sent / 4


def _eager() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    return made
