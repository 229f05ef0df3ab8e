"""A node's pod CIDRs: the cluster's choice of subnets, and what follows from it."""

from dataclasses import replace
from typing import Final

from flannel_sdk.errors import ConfigError, MalformedEntry, StoreCorrupt, StoreUnavailable
from flannel_sdk.model import (
    ByFamily,
    IPAddress,
    Lease,
    NetworkConfig,
    Prefix,
    SubnetPool,
    Subnets,
)
from flannel_sdk_kube.node_client import NodeEntry

_LONGEST_TEXT: Final = 200
_ALL_BITS: Final = {4: 0xFFFFFFFF, 16: (1 << 128) - 1}
_NETWORK_KEYS: Final = ByFamily("Network", "IPv6Network")


def pod_subnets(node: NodeEntry) -> Subnets:
    """All pod CIDRs of a node; MalformedEntry if they are not one of each family at most."""
    subnets: list[Prefix | None] = [None, None]
    for text in node.pod_cidrs:
        try:
            prefix = Prefix.parse(text)
        except ValueError as error:
            raise MalformedEntry(f"Its pod CIDR {shown(repr(text))} is none.") from error
        index = 0 if len(prefix.address) == 4 else 1
        if subnets[index] is not None or not prefix.length:
            cidrs = shown(", ".join(node.pod_cidrs))
            raise MalformedEntry(f"Its pod CIDRs, {cidrs}, are not one subnet of each family.")
        subnets[index] = _masked(prefix)
    return ByFamily(*subnets)


def assigned_subnets(node: NodeEntry, config: NetworkConfig) -> Subnets:
    """The pod CIDRs that the cluster gave a node, one of each family of the network.

    StoreUnavailable while one is missing, ConfigError if one is not inside the network.
    """
    try:
        given = pod_subnets(node)
    except MalformedEntry as error:
        raise StoreCorrupt(f"The node {node.name} cannot hold a lease. {error}") from error
    subnets: Subnets = ByFamily()
    for family, pool in config.pools.items_by_family():
        subnet = given.get(family)
        if subnet is None:
            raise StoreUnavailable(
                f"The node {node.name} was assigned no {family} pod CIDR yet: kube-controller-"
                "manager does that, with --allocate-node-cidrs and a --cluster-cidr of the family."
            )
        if not pool.network.covers(subnet):
            key = _NETWORK_KEYS.get(family) or ""
            raise ConfigError(
                key,
                f"The pod CIDR {subnet} of the node {node.name} is not inside the network"
                f" {pool.network}: {key} has to be the cluster's CIDR.",
            )
        subnets = subnets.with_value(family, subnet)
    return subnets


def as_assigned(config: NetworkConfig, subnets: Subnets) -> NetworkConfig:
    """``config`` with pools out of which ``subnets`` may have come.

    What the file says of them (SubnetLen, SubnetMin, SubnetMax) is for stores that choose
    themselves: a cluster has a mask of its own, and gives away the first subnet too.
    """
    pools = config.pools
    for family, pool in pools.items_by_family():
        if (subnet := subnets.get(family)) is not None:
            first = IPAddress.from_int(pool.network.first, family)
            last = Prefix(IPAddress.from_int(pool.network.last, family), subnet.length)
            pools = pools.with_value(
                family,
                SubnetPool(pool.network, subnet.length, first, last.masked().address),
            )
    return replace(config, pools=pools)


def why_lost(node: NodeEntry, lease: Lease) -> str | None:
    """Why a node does not have the subnets of ``lease`` any more, as a sentence."""
    try:
        given = pod_subnets(node)
    except MalformedEntry as error:
        return f"The node {node.name} cannot hold a lease. {error}"
    for family, subnet in lease.subnets.items_by_family():
        if given.get(family) != subnet:
            now = described(given) or "none"
            return f"The node {node.name} was made again: its pod CIDR is {now} and not {subnet}."
    return None


def described(subnets: Subnets) -> str:
    """``10.5.1.0/24 and fc00::/64``."""
    return " and ".join(str(subnet) for _, subnet in subnets.items_by_family())


def shown(text: str) -> str:
    """A foreign text in one line of bounded length."""
    text = text[: _LONGEST_TEXT + 1]
    if not text.isprintable():
        text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 3]}..."


def _masked(prefix: Prefix) -> Prefix:
    """Without host bits; nearly always there are none, which is quickly seen."""
    address, length = prefix
    if not int.from_bytes(address, "big") << length & _ALL_BITS[len(address)]:
        return prefix
    return prefix.masked()
