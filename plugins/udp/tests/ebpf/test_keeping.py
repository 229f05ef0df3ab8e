"""The filters among others': shared, put back when somebody takes them, taken away when retired."""

import socket
from collections.abc import Callable
from contextlib import aclosing

import pytest
from flannel_sdk_udp.datapath import Counter, Tunnel
from flannel_sdk_udp.ebpf import open_kernel_path
from flannel_sdk_udp.ebpf.traffic_control import (
    EGRESS,
    INGRESS,
    Filter,
    TrafficControl,
)

from flannel_sdk.interfaces import Network
from flannel_sdk.model import IPAddress, Prefix
from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.testing.waiting import eventually
from plugins.udp.tests.ebpf.pods import counted, without_offloads
from plugins.udp.tests.joining import join
from tests.overlay import V4, Node, config, reaches, running, underlay

pytestmark = pytest.mark.root
KERNEL = config("udp", V4, Datapath="kernel")
NAME = "flannel-sdk flannel0"


@pytest.fixture
def nodes(make_netns: Callable[[str], Namespace]) -> list[Node]:
    return underlay(make_netns)


def filters(node: Node) -> set[tuple[str, int]]:
    """Device and hook of our filters on a node."""

    def read() -> list[Filter]:
        with TrafficControl() as control:
            return control.filters(NAME)

    def name(row: Filter) -> tuple[str, int]:
        return socket.if_indextoname(row.ifindex), row.hook

    return node.netns.call(lambda: {name(row) for row in read()})


BOTH = {("eth0", INGRESS), ("flannel0", EGRESS)}
HOOKS = ("ingress", "egress")


def carried(network: Network) -> tuple[int, int]:
    return (
        counted(network, "kernel", Counter.SENT_PACKETS),
        counted(network, "userspace", Counter.SENT_PACKETS),
    )


async def test_filters_of_others_stay(nodes: list[Node]) -> None:
    one, two = nodes
    one.netns.exec("tc qdisc add dev eth0 clsact")
    for hook in HOOKS:
        match = "protocol all prio 9000 u32 match u32 0 0 classid 1:1"
        one.netns.exec(f"tc filter add dev eth0 {hook} {match}")
    before = [one.netns.exec(f"tc filter show dev eth0 {hook} prio 9000") for hook in HOOKS]
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert await reaches(one, two, V4)
        assert filters(one) == BOTH
    userspace = await join(one, config("udp", V4, Datapath="userspace"))
    assert filters(one) == set()
    assert userspace.lease.attrs.backend_data.ipv4 is None
    after = [one.netns.exec(f"tc filter show dev eth0 {hook} prio 9000") for hook in HOOKS]
    assert after == before


async def test_a_filter_before_ours_that_decides_leaves_the_rest_to_our_process(
    nodes: list[Node],
) -> None:
    one, two = nodes
    without_offloads(two)  # as a wire has it: a socket can take neither of them
    one.netns.exec("tc qdisc add dev eth0 clsact")
    match = "protocol all prio 1 u32 match u32 0 0 classid 1:1"
    one.netns.exec(f"tc filter add dev eth0 ingress {match}")
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert await reaches(two, one, V4, size=1472)
        assert counted(first, "kernel", Counter.RECEIVED_PACKETS) == 0
        await eventually(
            lambda: counted(first, "userspace", Counter.RECEIVED_PACKETS) > 0, "the count"
        )


@pytest.mark.parametrize(
    "command",
    [
        "tc qdisc delete dev eth0 clsact",
        "tc qdisc delete dev flannel0 clsact",
        "tc filter delete dev eth0 ingress",
        "tc filter delete dev flannel0 egress",
        "ip link delete flannel0",
    ],
)
async def test_what_somebody_took_away_comes_back(nodes: list[Node], command: str) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert await reaches(one, two, V4)
        one.netns.exec(command)
        await eventually(lambda: filters(one) == BOTH, "the filters", 10.0)
        before = carried(first)
        assert await reaches(one, two, V4)
        assert await reaches(two, one, V4)
        sent, in_userspace = carried(first)
        assert sent > before[0]
        assert in_userspace == before[1]


async def test_a_new_underlay_device_is_taken(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        one.ip("link delete eth0")
        one.plug()
        await eventually(lambda: filters(one) == BOTH, "the filters", 10.0)
        assert await reaches(two, one, V4)
        assert counted(first, "kernel", Counter.RECEIVED_PACKETS) > 0


async def test_a_filter_of_a_former_port_or_device_goes(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed:
        await feed.full([second.lease])
    other = await join(one, config("udp", V4, Datapath="kernel", Port=8286))
    assert filters(one) == BOTH, "the old ones serve until the new ones know all peers"
    async with running(other) as feed:
        await feed.full([second.lease])

        def handles() -> list[int]:
            with TrafficControl() as control:
                return [row.handle for row in control.filters(NAME)]

        assert one.netns.call(handles) == [8286, 8286]


async def test_removing_is_for_this_tunnel_only_and_needs_nothing_to_be_there(
    nodes: list[Node],
) -> None:
    one, two = nodes
    first, second = await join(one, KERNEL), await join(two, KERNEL)
    async with running(first) as feed:
        await feed.full([second.lease])
    for device, left in (("flannel1", BOTH), ("flannel0", set()), ("flannel0", set())):
        async with aclosing(open_kernel_path(tunnel(one, device))) as path:
            await path.remove()
        assert filters(one) == left


def tunnel(node: Node, device: str) -> Tunnel:
    subnet = node.subnets.ipv4
    assert subnet is not None
    return Tunnel(
        netns=node.netns.path,
        device=device,
        network=Prefix.parse("10.5.0.0/16"),
        subnet=subnet,
        underlay="eth0",
        source=IPAddress.parse("192.0.2.1"),
        port=8285,
        mtu=1472,
    )
