"""Nodes and networks for the tests of the etcd store."""

from flannel_sdk.model import ByFamily, Family, IPAddress, LeaseAttrs, Prefix, Subnets

IPV4 = '{"Network":"10.3.0.0/16","Backend":{"Type":"vxlan"}}'
DUAL = '{"Network":"10.3.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}'
IPV6 = '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48"}'
TINY = '{"Network":"10.3.0.0/28","SubnetLen":30}'
ONE_SUBNET = '{"Network":"10.3.0.0/28","SubnetLen":30,"SubnetMax":"10.3.0.4"}'
PREFIX = "/coreos.com/network"


def address4(number: int) -> IPAddress:
    return IPAddress.from_int(0xC0A80000 + number, Family.IPV4)


def node(number: int, mac: str = "c6:d2:32:6f:8f:44") -> LeaseAttrs:
    data = f'{{"VNI":1,"VtepMAC":"{mac}"}}'
    return LeaseAttrs(ByFamily(address4(number)), "vxlan", ByFamily(data))


def node6(number: int) -> LeaseAttrs:
    return LeaseAttrs(ByFamily(None, IPAddress.parse(f"fd00::{number:x}")))


def node_dual(number: int) -> LeaseAttrs:
    return LeaseAttrs(ByFamily(address4(number), IPAddress.parse(f"fd00::{number:x}")))


def subnets(text: str) -> Subnets:
    """``10.3.1.0/24``, ``10.3.1.0/24 fc00::/64``."""
    made: Subnets = ByFamily()
    for part in text.split():
        prefix = Prefix.parse(part)
        made = made.with_value(prefix.family, prefix)
    return made
