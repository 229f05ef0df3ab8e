"""LinuxKernel itself: rights, look-ups, notices, and what it does with what the kernel says."""

import asyncio
import ctypes
from collections.abc import Sequence

import pytest

from flannel_sdk.dataplane import Device, LinuxKernel, ResolvedRoute, Route
from flannel_sdk.dataplane.observed import (
    LinkNotice,
    NeighbourNotice,
    Notice,
    RouteNotice,
)
from flannel_sdk.errors import KernelRefused, PrivilegeError
from flannel_sdk.model import IPAddress
from flannel_sdk.testing.namespaces import Namespace
from tests.dataplane.nodes import (
    DEVICE,
    add_underlay,
    changed,
    device,
    node_objects,
    peer,
    peers,
    reconciler,
)

pytestmark = pytest.mark.root


def drop_rights() -> None:
    """Take all capabilities from the calling thread only."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert libc.capset(head, (ctypes.c_uint32 * 6)()) == 0


async def test_without_rights_one_sentence_names_the_capability(netns: Namespace) -> None:
    add_underlay(netns)
    route = Route(peer(1).subnet, "eth0", IPAddress.parse("192.168.0.9"))
    async with reconciler(netns) as made:
        await made._kernel.link("eth0")
        thread = made._kernel
        assert isinstance(thread, LinuxKernel)
        await thread._thread.call(drop_rights)
        with pytest.raises(PrivilegeError, match=r"cannot create the device .*CAP_NET_ADMIN"):
            await made.set_node(node_objects())
        with pytest.raises(PrivilegeError, match="CAP_NET_ADMIN"):
            await made.update([("one", [route])], full=True)


async def test_look_ups_of_routes(netns: Namespace) -> None:
    add_underlay(netns)
    netns.ip("route add 198.51.100.0/24 via 192.168.0.9")
    netns.ip("route add blackhole 203.0.113.0/24")
    netns.ip(
        "route add 100.64.0.0/16 nexthop via 192.168.0.8 dev eth0 nexthop via 192.168.0.9 dev eth0"
    )
    near, far, no, none, many, six = (
        IPAddress.parse(text)
        for text in
        ("192.168.3.4", "198.51.100.7", "203.0.113.1", "8.8.8.8", "100.64.0.1", "fd01::77")
    )  # fmt: skip
    kernel = LinuxKernel(netns.path)
    found = await kernel.lookup_routes([near, far, no, none, many, six])
    await kernel.aclose()
    assert found == {
        near: ResolvedRoute("eth0", None, 1),
        far: ResolvedRoute("eth0", IPAddress.parse("192.168.0.9"), 1),
        many: ResolvedRoute("eth0", IPAddress.parse("192.168.0.8"), 2),
        six: ResolvedRoute("eth0", None, 1),
    }


async def test_many_look_ups_at_once(netns: Namespace) -> None:
    add_underlay(netns)
    inside = [IPAddress((0xC0A80002 + n).to_bytes(4, "big")) for n in range(1000)]
    outside = [IPAddress((0x08080000 + n).to_bytes(4, "big")) for n in range(1000)]
    mixed = [address for pair in zip(inside, outside, strict=True) for address in pair]
    kernel = LinuxKernel(netns.path)
    found = await kernel.lookup_routes(mixed)
    none = await kernel.lookup_routes([])
    await kernel.aclose()
    assert found == dict.fromkeys(inside, ResolvedRoute("eth0", None, 1))
    assert none == {}


async def test_our_own_requests_are_not_reported(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        heard: list[Notice] = []
        arrived = asyncio.Event()

        def take(notices: Sequence[Notice]) -> None:
            heard.extend(notices)
            if any(isinstance(notice, LinkNotice) for notice in notices):
                arrived.set()

        await made._kernel.subscribe(take)
        await made.update(changed(peers(50)), full=True)
        await made.update([], full=True)
        await asyncio.to_thread(netns.ip, "link set eth0 mtu 1400")
        async with asyncio.timeout(3):
            await arrived.wait()
        assert not [notice for notice in heard if isinstance(notice, RouteNotice)]
        assert not [n for n in heard if isinstance(n, NeighbourNotice) and n.permanent]


async def test_a_kind_that_is_not_vxlan_is_made_too(netns: Namespace) -> None:
    async with reconciler(netns) as made:
        await made.set_node([Device("bridge7", "bridge", 1300, None)])
        mac = await made.device_mac("bridge7")
        assert device(netns, "bridge7")["mtu"] == 1300
        await asyncio.to_thread(netns.ip, "link set bridge7 address 02:66:00:00:00:07")
        await made.set_node([Device("bridge7", "bridge", 1300, None)])
        assert await made.device_mac("bridge7") == mac, "its MAC is kept while we know it"


async def test_a_refused_device_is_one_sentence(netns: Namespace) -> None:
    add_underlay(netns)
    bad = node_objects()[0]
    assert isinstance(bad, Device)
    async with reconciler(netns) as made:
        with pytest.raises(KernelRefused, match=f"cannot create the device {DEVICE}: "):
            await made.set_node([bad._replace(mtu=9)])
        with pytest.raises(KernelRefused, match="does not exist"):
            await made.device_mac("absent0")


async def test_a_cancelled_update_is_finished_by_the_next(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns) as made:
        await made.set_node(node_objects())
        many = changed(peers(3000))
        task = asyncio.create_task(made.update(many, full=True))
        await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await made.update(many, full=True)
        assert await made.plan() == []
        shown = await asyncio.to_thread(netns.ip, "route show proto 102")
        assert shown.count("\n") == 3000


async def test_attributes_of_other_kinds_are_compared(netns: Namespace) -> None:
    wanted = Device("bridge7", "bridge", 1300, None, None, (("br_ageing_time", 12000),))
    async with reconciler(netns) as made:
        await made.set_node([wanted])
        index = device(netns, "bridge7")["ifindex"]
        await made.set_node([wanted])
        assert await made.plan() == []
        assert device(netns, "bridge7")["ifindex"] == index
        await made.set_node([wanted._replace(attributes=(("br_ageing_time", 13000),))])
        assert device(netns, "bridge7")["ifindex"] != index
