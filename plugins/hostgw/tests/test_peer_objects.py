"""host-gw without a kernel: its routes, what it publishes, and where it will not run."""

import pytest
from flannel_sdk_hostgw import plugin
from flannel_sdk_hostgw.backend import HostGwBackend

from flannel_sdk.dataplane import Ownership, Route
from flannel_sdk.errors import ConfigError, InterfaceUnavailable, MalformedEntry
from flannel_sdk.interfaces import CONTRACT_VERSION, Backend, BackendContext, BackendPlugin
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
from flannel_sdk.testing.scripted import ScriptedLeases

IPS = ByFamily(IPAddress.parse("192.0.2.1"), IPAddress.parse("2001:db8::1"))
SUBNETS: Subnets = ByFamily(Prefix.parse("10.5.1.0/24"), Prefix.parse("fd00:5:1::/64"))
CONFIG = NetworkConfig.parse('{"Network": "10.5.0.0/16", "Backend": {"Type": "host-gw"}}')
DUAL = NetworkConfig.parse(
    '{"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:5::/48"}'
)
PEER = Lease(
    ByFamily(Prefix.parse("10.5.2.0/24"), Prefix.parse("fd00:5:2::/64")),
    LeaseAttrs(ByFamily(IPAddress.parse("192.0.2.2"), IPAddress.parse("2001:db8::2")), "host-gw"),
)
ROUTE4 = Route(Prefix.parse("10.5.2.0/24"), "eth0", IPAddress.parse("192.0.2.2"))
ROUTE6 = Route(Prefix.parse("fd00:5:2::/64"), "eth0", IPAddress.parse("2001:db8::2"))


def context(
    addresses: ByFamily[IPAddress] = IPS, public_ips: ByFamily[IPAddress] = IPS
) -> BackendContext:
    return BackendContext(ExternalInterface("eth0", 2, 1500, addresses, public_ips), netns=None)


def test_the_plugin_says_its_contract() -> None:
    assert isinstance(plugin, BackendPlugin)
    assert plugin.contract_version == CONTRACT_VERSION
    backend: Backend = plugin.create(context())
    assert isinstance(backend, HostGwBackend)


async def test_publishes_its_public_ips_and_routes_by_way_of_the_peers() -> None:
    leases = ScriptedLeases(SUBNETS)
    network = await HostGwBackend(context()).register_network(DUAL, leases)
    assert leases.published == [LeaseAttrs(IPS, "host-gw")]
    assert network.mtu == 1500
    assert network.device_objects() == ()
    assert network.peer_objects(PEER) == (ROUTE4, ROUTE6)


async def test_d11_only_the_families_that_both_have() -> None:
    leases = ScriptedLeases(SUBNETS._replace(ipv6=None))
    network = await HostGwBackend(context()).register_network(CONFIG, leases)
    assert leases.published == [LeaseAttrs(IPS._replace(ipv6=None), "host-gw")]
    assert network.peer_objects(PEER) == (ROUTE4,)
    only6 = Lease(PEER.subnets._replace(ipv4=None), PEER.attrs)
    with pytest.raises(MalformedEntry, match="address family"):
        network.peer_objects(only6)
    no_address = Lease(PEER.subnets, LeaseAttrs(ByFamily(), "host-gw"))
    with pytest.raises(MalformedEntry, match="address family"):
        network.peer_objects(no_address)


@pytest.mark.parametrize(
    ("family", "key"), [("ipv4", "public-ip"), ("ipv6", "public-ipv6")], ids=["ipv4", "ipv6"]
)
def test_nat_is_not_supported_in_either_family(family: str, key: str) -> None:
    other = ByFamily(IPAddress.parse("198.51.100.1"), IPAddress.parse("2001:db8:1::1"))
    behind_nat = IPS._replace(**{family: getattr(other, family)})
    with pytest.raises(ConfigError, match="NAT is not supported") as caught:
        plugin.create(context(public_ips=behind_nat))
    assert caught.value.key == key


async def test_says_which_family_the_interface_lacks() -> None:
    only4 = IPS._replace(ipv6=None)
    backend = HostGwBackend(context(only4, only4))
    with pytest.raises(InterfaceUnavailable, match="eth0 has no IPv6 address"):
        await backend.register_network(DUAL, ScriptedLeases(SUBNETS))


def test_what_it_owns_are_routes_into_the_network() -> None:
    from flannel_sdk.toolkit import network_ownership

    assert network_ownership(DUAL) == Ownership(
        frozenset(), (Prefix.parse("10.5.0.0/16"), Prefix.parse("fd00:5::/48"))
    )
