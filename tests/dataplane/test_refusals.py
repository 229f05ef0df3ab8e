"""What the kernel refuses is kept with its object and tried ever later; nothing else suffers."""

import asyncio
import os

import pytest

from flannel_sdk.dataplane import LinuxKernel, Ownership, Route
from flannel_sdk.dataplane.observed import RouteDump
from flannel_sdk.errors import KernelRefused
from flannel_sdk.model import Family, IPAddress
from flannel_sdk.testing.namespaces import PREFIX, Namespace, delete, run
from tests.dataplane.nodes import (
    OWNERSHIP,
    add_underlay,
    eventually,
    node_objects,
    peer,
    peers,
    reconciler,
    routes,
)

pytestmark = pytest.mark.root
UNDERLAY_ONLY = Ownership(networks=OWNERSHIP.networks)


def direct(count: int, gateway: str) -> list[tuple[int, list[Route]]]:
    via = IPAddress.parse(gateway)
    return [(n, [Route(one.subnet, "eth0", via)]) for n, one in enumerate(peers(count))]


async def test_many_refused_at_once_are_not_compared_over_and_over(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns, running=True, ownership=UNDERLAY_ONLY) as made:
        await made.update(direct(300, "172.16.0.9"), full=True)
        await asyncio.sleep(1)  # long enough for many
        audits = made.status()["audits"]
        assert isinstance(audits, int)
        assert audits <= 4, "at once, once more, then after 0.5, 1, 2 s"
        assert made.status()["failed"] == {
            "count": 300,
            "reasons": {"Nexthop has invalid gateway (ENETUNREACH)": 300},
        }
        await asyncio.to_thread(netns.ip, "address add 172.16.0.1/24 dev eth0")
        await eventually(lambda: len(routes(netns)) == 300)


async def test_a_device_without_ipv6_harms_only_its_own_objects(netns: Namespace) -> None:
    add_underlay(netns)
    netns.exec("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")
    six = peer(1, Family.IPV6)
    refused = ("six", [Route(six.subnet, "eth0", six.public, onlink=True)])
    async with reconciler(netns, running=True, ownership=UNDERLAY_ONLY) as made:
        await made.update([refused, *direct(1, "192.168.0.9")], full=True)
        assert str(peer(1).subnet) in routes(netns)
        assert made.status()["failed"] == {
            "count": 1,
            "reasons": {"IPv6 is disabled on nexthop device (EACCES)": 1},
        }
        netns.exec("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0")
        await asyncio.to_thread(netns.ip, "address add fd01::1/64 dev eth0 nodad")
        await eventually(lambda: str(six.subnet) in routes(netns, Family.IPV6))


async def test_a_device_of_ours_without_ipv6_is_no_missing_right(netns: Namespace) -> None:
    add_underlay(netns)
    netns.exec("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
    async with reconciler(netns) as made:
        with pytest.raises(KernelRefused, match="put an address of flannel"):
            await made.set_node(node_objects(Family.IPV6))


async def test_a_namespace_that_never_had_an_ipv4_address_has_no_routes() -> None:
    # Not the fixture's: with its loopback up there is a main table.
    fresh = Namespace(f"{PREFIX}{os.getpid()}-fresh")
    run(f"ip netns add {fresh.name}")
    kernel = LinuxKernel(fresh.path)
    try:
        assert await kernel.routes() == RouteDump({}, [])
    finally:
        await kernel.aclose()
        delete(fresh)


async def test_a_socket_that_fails_is_a_refusal_of_the_kernel(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns, ownership=UNDERLAY_ONLY) as made:
        await made.update(direct(1, "192.168.0.9"), full=True)
        kernel = made._kernel
        assert isinstance(kernel, LinuxKernel)
        assert kernel._requests is not None
        kernel._requests.close()
        with pytest.raises(KernelRefused, match="cannot change the data plane: Bad file"):
            await made.update(direct(2, "192.168.0.9"), full=True)


async def test_what_waited_for_an_address_comes_back_with_it(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns, running=True, ownership=UNDERLAY_ONLY) as made:
        await made.update(direct(3, "192.168.0.9"), full=True)
        await asyncio.to_thread(netns.ip, "address delete 192.168.0.1/16 dev eth0")
        await asyncio.sleep(4)  # until the next try is seconds away
        await asyncio.to_thread(netns.ip, "address add 192.168.0.1/16 dev eth0")
        await eventually(lambda: len(routes(netns)) == 3, 0.5)
