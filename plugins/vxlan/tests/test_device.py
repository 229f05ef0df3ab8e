"""The vxlan device: flannel's name where the kernel takes it, its MTU, its MAC, its attributes."""

import pytest
from flannel_sdk_vxlan.device import derive_mac, device_name, vxlan_device
from flannel_sdk_vxlan.options import VxlanOptions

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import Family, IPAddress

V4, V6 = IPAddress.parse("192.0.2.1"), IPAddress.parse("2001:db8::1")
MAC = derive_mac(V4, 1)


@pytest.mark.parametrize(
    ("vni", "ipv4", "ipv6"),
    [
        (1, "flannel.1", "flannel-v6.1"),
        (9_999, "flannel.9999", "flannel-v6.9999"),
        (10_000, "flannel.10000", "fl-v6.10000"),
        (9_999_999, "flannel.9999999", "fl-v6.9999999"),
        (2**24 - 1, "fl-v4.16777215", "fl-v6.16777215"),
    ],
)
def test_d16_every_vni_has_a_name_that_the_kernel_takes(vni: int, ipv4: str, ipv6: str) -> None:
    names = [device_name(family, vni) for family in Family]
    assert names == [ipv4, ipv6]
    assert max(map(len, names)) <= 15


def test_d16_outer_ipv6_costs_70_bytes() -> None:
    ipv4, ipv6 = (
        vxlan_device(VxlanOptions(), source, mac=MAC, lower="eth0", underlay_mtu=1500)
        for source in (V4, V6)
    )
    assert (ipv4.mtu, ipv6.mtu) == (1450, 1430)


@pytest.mark.parametrize(("source", "least"), [(V4, 118), (V6, 1350)])
def test_an_mtu_too_small_for_the_family_is_said(source: IPAddress, least: int) -> None:
    vxlan_device(VxlanOptions(), source, mac=MAC, lower="eth0", underlay_mtu=least)
    with pytest.raises(ConfigError, match=r"Backend\.MTU") as caught:
        vxlan_device(VxlanOptions(), source, mac=MAC, lower="eth0", underlay_mtu=least - 1)
    assert caught.value.key == "Backend.MTU"


def test_the_mac_is_the_nodes_own_and_the_same_at_every_start() -> None:
    assert derive_mac(V4, 1) == derive_mac(IPAddress.parse("192.0.2.1"), 1)
    macs = {
        derive_mac(ip, vni)
        for vni in range(50)
        for ip in (V4, V6, *(IPAddress.from_int(number, Family.IPV4) for number in range(50)))
    }
    assert len(macs) == 50 * 52
    assert all(mac[0] & 0b11 == 0b10 for mac in macs)


def test_says_every_attribute() -> None:
    options = VxlanOptions(vni=7, port=4789, gbp=True, learning=True)
    device = vxlan_device(options, V6, mac=MAC, lower="eth0", underlay_mtu=9000)
    assert (device.kind, device.lower, device.mac) == ("vxlan", "eth0", MAC)
    assert dict(device.attributes) == {
        "vxlan_id": 7,
        "vxlan_local6": "2001:db8::1",
        "vxlan_port": 4789,
        "vxlan_learning": 1,
        "vxlan_gbp": True,
        "vxlan_ttl": 0,
        "vxlan_tos": 0,
        "vxlan_proxy": 0,
        "vxlan_rsc": 0,
        "vxlan_l2miss": 0,
        "vxlan_l3miss": 0,
        "vxlan_udp_zero_csum6_tx": 0,
        "vxlan_udp_zero_csum6_rx": 0,
        "vxlan_collect_metadata": 0,
        "vxlan_group": None,
        "vxlan_group6": None,
    }
