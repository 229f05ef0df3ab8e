"""udp on the real kernel: what registering makes, refuses and says."""

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from flannel_sdk_hostgw import plugin as host_gw
from flannel_sdk_udp import plugin

from flannel_sdk.dataplane import open_tun
from flannel_sdk.errors import ConfigError, KernelRefused, PermanentError
from flannel_sdk.interfaces import Network, SupportsRetire
from flannel_sdk.model import ByFamily, NetworkConfig
from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.testing.scripted import ScriptedFeed
from flannel_sdk.testing.waiting import eventually
from plugins.udp.tests.flows import bound
from plugins.udp.tests.joining import join, peer
from tests.overlay import V4, V6, Node, config, register, running, told, underlay

pytestmark = pytest.mark.root
USERSPACE = config("udp", V4, Datapath="userspace")


@pytest.fixture
def node(make_netns: Callable[[str], Namespace]) -> Node:
    return underlay(make_netns, nodes=1)[0]


async def test_the_device_is_flannels(node: Node) -> None:
    _, leases = await register(plugin.create(node.context()), node, USERSPACE)
    device = node.device("flannel0")
    assert device is not None
    assert device["mtu"] == 1472
    [addresses] = [row["addr_info"] for row in node.show("-4 addr show dev flannel0")]
    assert isinstance(addresses, list)
    assert [(one["local"], one["prefixlen"]) for one in addresses] == [("10.5.1.0", 32)]
    assert node.routes() == {"10.5.0.0/16": None}
    assert [attrs.backend_type for attrs in leases.published] == [""]
    assert [attrs.backend_data.ipv4 for attrs in leases.published] == [None]


async def test_leases_of_other_backends_are_refused(node: Node) -> None:
    network = await join(node, USERSPACE)
    async with running(network) as feed:
        await feed.full([peer(2), peer(3, "vxlan")])
        assert told(network, "peers") == {
            "known": 2,
            "refused": {"its backend is 'vxlan', not ''": 1},
        }


async def test_two_networks_have_a_device_each(node: Node) -> None:
    await join(node, USERSPACE)
    other = NetworkConfig.parse(
        '{"Network": "10.6.0.0/16", "Backend": {"Type": "udp", "Datapath": "userspace"}}'
    )
    node.ip("link add flannel1 type bridge")
    assert told(await join(node, other), "datapath", "device") == "flannel2"


async def test_a_network_without_ipv4_alone_is_refused(node: Node) -> None:
    for families in ((V4, V6), (V6,)):
        with pytest.raises(ConfigError, match="carries IPv4 only"):
            await join(node, config("udp", *families))


async def test_an_underlay_too_small_is_refused(node: Node) -> None:
    node.ip("link set eth0 mtu 90")
    with pytest.raises(ConfigError, match="90 bytes leaves 62 inside the tunnel"):
        await join(node, USERSPACE)


async def test_a_port_that_is_taken_is_named(node: Node) -> None:
    network = await join(node, USERSPACE)
    with (
        bound(node.netns, "192.0.2.1", 8285),
        pytest.raises(KernelRefused, match=r"UDP port 8285 of 192\.0\.2\.1 .*flanneld"),
    ):
        await network.run(ScriptedFeed())


async def test_a_device_that_another_program_has_open_is_named(node: Node) -> None:
    network = await join(node, USERSPACE)
    held = node.netns.call(lambda: open_tun("flannel0"))
    try:
        with pytest.raises(KernelRefused, match="another program has the TUN device flannel0"):
            await network.run(ScriptedFeed())
    finally:
        os.close(held)


async def test_a_kernel_without_tun_is_named(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flannel_sdk.dataplane.tun._PATH", "/dev/net/no-tun")
    with pytest.raises(PermanentError, match=r"no /dev/net/tun: .*modprobe tun"):
        await join(node, USERSPACE)


async def another_backends(node: Node) -> Network:
    network, _ = await register(host_gw.create(node.context()), node, config("host-gw", V4))
    return network


async def test_retiring_removes_the_device(node: Node) -> None:
    network = await join(node, USERSPACE)
    assert isinstance(network, SupportsRetire)
    same = await join(node, USERSPACE)
    await network.retire(same)
    assert node.device("flannel0") is not None
    await network.retire(await another_backends(node))
    assert node.device("flannel0") is None


async def test_a_flanneld_that_takes_over_gets_the_traffic(node: Node) -> None:
    network = await join(node, USERSPACE)
    async with running(network) as feed:
        await feed.full([peer(2)])
    # What it does: a device of its own, and a route that it lets be where there is one like it.
    node.ip("link add flannel1 type bridge")
    node.ip("link set flannel1 up")
    node.ip("route add 10.5.0.0/16 dev flannel1")
    [way] = node.show("route get 10.5.2.2")
    assert way["dev"] == "flannel1"
    again = await join(node, USERSPACE)
    async with running(again) as feed:
        await feed.full([peer(2)])
        [way] = node.show("route get 10.5.2.2")
        assert way["dev"] == "flannel0"


async def test_ipv6_is_refused_before_an_address_of_it_is_missed(node: Node) -> None:
    alone = ByFamily(node.public_ips.ipv4)
    backend = plugin.create(node.context(alone))
    for families in ((V4, V6), (V6,)):
        with pytest.raises(ConfigError, match="carries IPv4 only"):
            await register(backend, node, config("udp", *families))


async def test_a_blackhole_route_survives_the_loss_of_the_device(node: Node) -> None:
    context = replace(node.context(), blackhole_route=True)
    network, _ = await register(plugin.create(context), node, USERSPACE)

    def routes() -> set[object]:
        return {row["dst"] for row in node.show("-4 route show table main")}

    async with running(network) as feed:
        await feed.full([peer(2)])
        node.ip("link del flannel0")
        await eventually(lambda: "10.5.0.0/16" in routes(), "the device and its route")
        assert "10.5.1.0/24" in routes()
        node.ip("route del blackhole 10.5.1.0/24")
        await eventually(lambda: "10.5.1.0/24" in routes(), "the blackhole route")


async def test_what_keeps_a_thread_from_starting_is_said_and_may_heal(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await join(node, USERSPACE)
    real, calls = os.eventfd, []

    def second_refused(initial: int, flags: int) -> int:
        calls.append(initial)
        if len(calls) == 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(initial, flags)

    monkeypatch.setattr(os, "eventfd", second_refused)
    with pytest.raises(KernelRefused, match="cannot start the threads"):
        await network.run(ScriptedFeed())
    assert not [one for one in threading.enumerate() if one.name.startswith("flannel-udp")]
    async with running(network) as feed:
        await feed.full([peer(2)])
