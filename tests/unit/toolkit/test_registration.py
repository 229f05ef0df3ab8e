"""What backends do at registration: addresses to publish and to send from, MTUs, MACs."""

import errno
import logging
from dataclasses import replace

import pytest

from flannel_sdk.dataplane import Device
from flannel_sdk.errors import ConfigError, InterfaceUnavailable, KernelRefused
from flannel_sdk.interfaces import BackendContext
from flannel_sdk.model import (
    ByFamily,
    ExternalInterface,
    Family,
    IPAddress,
    MacAddress,
    NetworkConfig,
)
from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.toolkit import (
    KernelSession,
    device_macs,
    enabled_public_ips,
    inner_mtu,
    is_station,
    kept_mac,
    network_ownership,
    tunnel_source,
    underlay_mtu,
)
from tests.unit.toolkit.recording import RecordingReconciler, RecordingSessions

OWN = IPAddress.parse("10.0.0.1")
PUBLIC = IPAddress.parse("203.0.113.1")
MAC = MacAddress.parse("02:00:00:00:00:01")
DUAL = NetworkConfig.parse(
    '{"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:5::/48"}'
)
ONLY4 = NetworkConfig.parse('{"Network": "10.5.0.0/16"}')


def context(own: IPAddress | None = OWN, public: IPAddress | None = PUBLIC) -> BackendContext:
    interface = ExternalInterface("eth0", 2, 1500, ByFamily(own), ByFamily(public))
    return BackendContext(interface, netns=None)


@pytest.fixture
async def session(sessions: RecordingSessions) -> KernelSession:
    return KernelSession(sessions.kernel, sessions.reconciler)


def test_publishes_only_the_enabled_families() -> None:
    both = ByFamily(PUBLIC, IPAddress.parse("2001:db8::1"))
    interface = ExternalInterface("eth0", 2, 1500, both, both)
    dual = BackendContext(interface, netns=None)
    assert enabled_public_ips(dual, DUAL) == both
    assert enabled_public_ips(dual, ONLY4) == ByFamily(PUBLIC)
    with pytest.raises(InterfaceUnavailable, match="eth0 has no IPv6 address"):
        enabled_public_ips(context(), DUAL)


async def test_d17_a_public_ip_of_our_own_is_what_a_tunnel_sends_from() -> None:
    assert await tunnel_source(context(OWN, OWN), Family.IPV4) == OWN
    loopback = IPAddress.parse("127.0.0.1")
    assert await tunnel_source(context(OWN, loopback), Family.IPV4) == loopback


async def test_d17_behind_nat_a_tunnel_sends_from_the_interfaces_own_address() -> None:
    assert await tunnel_source(context(OWN, PUBLIC), Family.IPV4) == OWN


@pytest.mark.root
async def test_d17_what_is_on_this_node_is_seen_in_the_backends_namespace(
    netns: Namespace,
) -> None:
    """203.0.113.1 is on another device there: packets can come from it."""
    netns.add_veth("eth0", "10.0.0.1/24")
    there = replace(context(), netns=netns.path)
    assert await tunnel_source(there, Family.IPV4) == OWN
    netns.ip(f"address add {PUBLIC}/32 dev lo")
    assert await tunnel_source(there, Family.IPV4) == PUBLIC
    assert await tunnel_source(context(), Family.IPV4) == OWN


def test_owned_are_the_devices_and_the_routes_into_all_pools() -> None:
    owned = network_ownership(DUAL, ["tun", "tun"])
    assert owned.devices == {"tun"}
    assert [str(network) for network in owned.networks] == ["10.5.0.0/16", "fd00:5::/48"]
    assert network_ownership(ONLY4).devices == frozenset()
    assert len(network_ownership(ONLY4).networks) == 1


async def test_a_tunnel_needs_an_address_of_its_family() -> None:
    assert await tunnel_source(context(own=None), Family.IPV4) == PUBLIC
    with pytest.raises(InterfaceUnavailable, match="no IPv6 address"):
        await tunnel_source(context(), Family.IPV6)


def test_a_wish_for_more_than_the_interface_carries_is_cut_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert underlay_mtu(context()) == 1500
        assert underlay_mtu(context(), 1400) == 1400
        assert not caplog.records
        assert underlay_mtu(context(), 9000) == 1500
    assert "9000" in caplog.text


def test_the_mtu_inside_a_tunnel_has_to_be_enough_for_its_family() -> None:
    assert inner_mtu(Family.IPV6, 1350, 70) == 1280
    assert inner_mtu(Family.IPV4, 118, 50) == 68
    with pytest.raises(ConfigError, match="leaves 1279 inside"):
        inner_mtu(Family.IPV6, 1349, 70)


async def test_keeps_the_mac_that_peers_know(
    session: KernelSession, sessions: RecordingSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = MacAddress.parse("02:00:00:00:00:99")
    sessions.reconciler.macs = {"tun": MAC, "odd": MacAddress(6)}
    assert await kept_mac(session, "tun", fresh) == MAC
    assert await kept_mac(session, "odd", fresh) == fresh

    async def absent(self: RecordingReconciler, name: str) -> MacAddress:
        raise KernelRefused(f"there is no device {name}", errno.ENODEV)

    async def unreadable(self: RecordingReconciler, name: str) -> MacAddress:
        raise KernelRefused("out of memory", errno.ENOMEM)

    monkeypatch.setattr(RecordingReconciler, "device_mac", absent)
    assert await kept_mac(session, "tun", fresh) == fresh
    monkeypatch.setattr(RecordingReconciler, "device_mac", unreadable)
    with pytest.raises(KernelRefused):
        await kept_mac(session, "tun", fresh)


async def test_tells_the_macs_that_devices_really_have(
    session: KernelSession, sessions: RecordingSessions
) -> None:
    sessions.reconciler.macs = {"tun": MAC}
    devices = ByFamily(Device("tun", "vxlan", 1450, None))
    assert await device_macs(session, devices) == ByFamily(MAC)


def test_a_station_is_neither_a_group_nor_nobody() -> None:
    assert is_station(MAC)
    assert not is_station(MacAddress(6))
    assert not is_station(MacAddress.parse("01:00:5e:00:00:01"))
