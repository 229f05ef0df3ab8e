"""alloc: what it publishes, and that it keeps up with its peers without doing anything."""

import asyncio
import contextlib

import pytest
from flannel_sdk_alloc import plugin
from flannel_sdk_alloc.backend import AllocNetwork

from flannel_sdk.errors import InterfaceUnavailable, RetryableError
from flannel_sdk.interfaces import CONTRACT_VERSION, BackendContext, BackendPlugin, Network
from flannel_sdk.model import (
    ByFamily,
    ExternalInterface,
    IPAddress,
    Lease,
    LeaseAttrs,
    NetworkConfig,
    Prefix,
    Subnets,
)
from flannel_sdk.testing.scripted import ScriptedFeed, ScriptedLeases

IPS = ByFamily(IPAddress.parse("192.0.2.1"), IPAddress.parse("2001:db8::1"))
SUBNETS: Subnets = ByFamily(Prefix.parse("10.5.1.0/24"), Prefix.parse("fd00:5:1::/64"))
CONFIG = NetworkConfig.parse('{"Network": "10.5.0.0/16", "Backend": {"Type": "alloc"}}')
DUAL = NetworkConfig.parse(
    '{"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:5::/48"}'
)
PEER = Lease(ByFamily(Prefix.parse("10.5.2.0/24")), LeaseAttrs(ByFamily(), "vxlan"))


def context(addresses: ByFamily[IPAddress] = IPS) -> BackendContext:
    return BackendContext(ExternalInterface("eth0", 2, 1400, addresses, addresses), netns=None)


def test_the_plugin_says_its_contract() -> None:
    assert isinstance(plugin, BackendPlugin)
    assert plugin.contract_version == CONTRACT_VERSION


async def test_publishes_its_public_ips_and_no_type() -> None:
    leases = ScriptedLeases(SUBNETS)
    network: Network = await plugin.create(context()).register_network(DUAL, leases)
    assert leases.published == [LeaseAttrs(IPS)]
    assert network.lease == Lease(SUBNETS, LeaseAttrs(IPS))
    assert network.mtu == 1400


async def test_publishes_the_enabled_families_only() -> None:
    leases = ScriptedLeases(SUBNETS)
    await plugin.create(context()).register_network(CONFIG, leases)
    assert leases.published == [LeaseAttrs(IPS._replace(ipv6=None))]


async def test_says_which_family_the_interface_lacks() -> None:
    backend = plugin.create(context(IPS._replace(ipv6=None)))
    with pytest.raises(InterfaceUnavailable, match="eth0 has no IPv6 address"):
        await backend.register_network(DUAL, ScriptedLeases(SUBNETS))


async def test_asks_for_each_next_update_until_it_is_cancelled() -> None:
    feed = ScriptedFeed()
    running = asyncio.create_task(AllocNetwork(PEER, 1500).run(feed))
    await feed.full([PEER])
    await feed.change(removed=[PEER.subnets])
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert running.cancelled()


async def test_a_feed_that_ends_is_said_and_not_taken_for_success() -> None:
    feed = ScriptedFeed()
    await feed.close()
    with pytest.raises(RetryableError, match="feed of peers ended"):
        await AllocNetwork(PEER, 1500).run(feed)
