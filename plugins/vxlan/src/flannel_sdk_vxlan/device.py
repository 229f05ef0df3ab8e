"""The vxlan device of one address family: its name, MTU, MAC and kernel attributes."""

import hashlib

from flannel_sdk.dataplane import Device
from flannel_sdk.model import Family, IPAddress, MacAddress
from flannel_sdk.toolkit import inner_mtu
from flannel_sdk_vxlan.options import VxlanOptions

_OVERHEAD = {Family.IPV4: 50, Family.IPV6: 70}
"""Bytes of the outer IP header with UDP, VXLAN and inner Ethernet headers."""
_NAMES = {Family.IPV4: ("flannel.", "fl-v4."), Family.IPV6: ("flannel-v6.", "fl-v6.")}
_NAME_LENGTH = 15
_ZEROS = (
    *("vxlan_ttl", "vxlan_tos", "vxlan_proxy", "vxlan_rsc", "vxlan_l2miss", "vxlan_l3miss"),
    *("vxlan_udp_zero_csum6_tx", "vxlan_udp_zero_csum6_rx", "vxlan_collect_metadata"),
)


def device_name(family: Family, vni: int) -> str:
    """flannel's name; where the kernel's 15 characters do not hold that, a shorter one of ours."""
    usual, short = _NAMES[family]
    name = f"{usual}{vni}"
    return name if len(name) <= _NAME_LENGTH else f"{short}{vni}"


def derive_mac(public_ip: IPAddress, vni: int) -> MacAddress:
    """The same for the same node at every start; locally administered, and of one station."""
    digest = hashlib.sha256(b"flannel vtep %d %b" % (vni, public_ip)).digest()
    return MacAddress(bytes([digest[0] & 0xFC | 0x02]) + digest[1:6])


def vxlan_device(
    options: VxlanOptions, source: IPAddress, *, mac: MacAddress, lower: str, underlay_mtu: int
) -> Device:
    """The device as flannel makes it; every attribute is said, so that every one is compared."""
    family = source.family
    local = "vxlan_local" if family is Family.IPV4 else "vxlan_local6"
    return Device(
        name=device_name(family, options.vni),
        kind="vxlan",
        mtu=inner_mtu(family, underlay_mtu, _OVERHEAD[family]),
        mac=mac,
        lower=lower,
        attributes=(
            ("vxlan_id", options.vni),
            (local, str(source)),
            ("vxlan_port", options.port),
            ("vxlan_learning", int(options.learning)),
            ("vxlan_gbp", options.gbp),
            *((name, 0) for name in _ZEROS),
            ("vxlan_group", None),
            ("vxlan_group6", None),
        ),
    )
