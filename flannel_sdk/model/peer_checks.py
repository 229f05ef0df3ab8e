"""Whether a published lease may become a peer: what one broken or hostile entry must not do."""

from collections.abc import Iterable
from typing import NamedTuple

from flannel_sdk.model.addresses import ByFamily, Family, IPAddress, Prefix
from flannel_sdk.model.config import NetworkConfig
from flannel_sdk.model.lease import Lease, Subnets

_BAD_FIRST_OCTET = frozenset({0, 127, *range(224, 256)})
"""First octets of IPv4 addresses that no node has: this network, loopback, multicast, reserved."""
_MAPPED = b"\0" * 10 + b"\xff\xff"
_ONLY_LAST = b"\0" * 15


class Refused(NamedTuple):
    """A lease that is not to become a peer, and why (the end of a sentence)."""

    lease: Lease
    reason: str


class PeerChecks:
    """The checks that need one lease only, made for one network and one node."""

    def __init__(self, config: NetworkConfig, own_public_ips: ByFamily[IPAddress]) -> None:
        self._ranges = [
            _Range.of(family, pool.network, own_public_ips.get(family))
            for family, pool in config.pools.items_by_family()
        ]

    def refusal(self, lease: Lease) -> str | None:
        """Why the lease cannot be a peer's, as the end of a sentence; None if it can.

        A subnet of a family that the network does not have is not looked at.
        """
        subnets, public_ips = lease.subnets, lease.attrs.public_ips
        present = False
        for ipv6, first, last, shortest, own in self._ranges:
            prefix = subnets[ipv6]
            if prefix is None:
                continue
            present = True
            address, length = prefix
            if length < shortest or not first <= address <= last:
                return f"the subnet {prefix} lies outside the network"
            public = public_ips[ipv6]
            if public is None:
                return f"it publishes no {Family.IPV6 if ipv6 else Family.IPV4} address"
            if public == own:
                return f"it publishes our own address {public}"
            if public[0] in _BAD_FIRST_OCTET if not ipv6 else not _is_ipv6_node(public):
                return f"{public} is not the address of a node"
        return None if present else "it has no subnet of a family that the network has"

    def sift(self, leases: Iterable[Lease]) -> tuple[list[Lease], list[Refused]]:
        """The leases that may be peers, in their order, and the others."""
        good: list[Lease] = []
        refused: list[Refused] = []
        refusal = self.refusal
        for lease in leases:
            reason = refusal(lease)
            if reason is None:
                good.append(lease)
            else:
                refused.append(Refused(lease, reason))
        return good, refused


class _Range(NamedTuple):
    """The network of one family, ready for comparing packed addresses."""

    ipv6: int
    """Index of the family in a ByFamily."""
    first: bytes
    last: bytes
    shortest: int
    own: IPAddress | None

    @classmethod
    def of(cls, family: Family, network: Prefix, own: IPAddress | None) -> "_Range":
        return cls(
            int(family is Family.IPV6),
            bytes(IPAddress.from_int(network.first, family)),
            bytes(IPAddress.from_int(network.last, family)),
            network.length,
            own,
        )


def _is_ipv6_node(address: IPAddress) -> bool:
    """False for multicast, the unspecified and the loopback address, and for IPv4 in disguise."""
    return not (
        address[0] == 0xFF
        or (address.startswith(_ONLY_LAST) and address[15] <= 1)
        or address.startswith(_MAPPED)
    )


class SubnetClaims:
    """Which leases hold their subnets, so that no two peers overlap: the first claim wins.

    Claiming costs O(1) while all subnets of a family have one length, which is the rule.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], dict[int, Subnets]] = {}
        """By family bits and prefix length: who holds the subnet with this number."""

    def claim(self, subnets: Subnets) -> Subnets | None:
        """Take the subnets; or, taking nothing, name the holder of one that overlaps.

        Claiming again what one holds oneself is no conflict.
        """
        for prefix in subnets:
            if prefix is not None:
                holder = self._holder(prefix, subnets)
                if holder is not None:
                    return holder
        for prefix in subnets:
            if prefix is not None:
                self._numbers(prefix)[_number(prefix)] = subnets
        return None

    def release(self, subnets: Subnets) -> None:
        """Give up what ``subnets`` holds, if anything."""
        for prefix in subnets:
            if prefix is not None:
                numbers = self._numbers(prefix)
                if numbers.get(_number(prefix)) == subnets:
                    del numbers[_number(prefix)]

    def sift(self, leases: Iterable[Lease]) -> tuple[list[Lease], list[Refused]]:
        """Claim for many: the leases that hold their subnets, in their order, and the others.

        Where two of them overlap, and none of them held it before, the earlier revision wins.
        """
        listed = list(leases)
        refused: dict[int, Refused] = {}
        for lease in sorted(listed, key=lambda lease: lease.revision):
            holder = self.claim(lease.subnets)
            if holder is not None:
                reason = f"it overlaps {' and '.join(map(str, filter(None, holder)))}"
                refused[id(lease)] = Refused(lease, reason)
        if not refused:
            return listed, []
        return [lease for lease in listed if id(lease) not in refused], list(refused.values())

    def _numbers(self, prefix: Prefix) -> dict[int, Subnets]:
        return self._held.setdefault((len(prefix.address) * 8, prefix.length), {})

    def _holder(self, prefix: Prefix, own: Subnets) -> Subnets | None:
        """Who, other than ``own``, holds something that overlaps ``prefix``."""
        family_bits, number = len(prefix.address) * 8, _number(prefix)
        for (bits, length), numbers in self._held.items():
            if bits != family_bits:
                continue
            if length <= prefix.length:
                holder = numbers.get(number >> prefix.length - length)
                if holder is not None and holder != own:
                    return holder
                continue
            for held, holder in numbers.items():
                if held >> length - prefix.length == number and holder != own:
                    return holder
        return None


def _number(prefix: Prefix) -> int:
    """The prefix as a number: its network bits alone."""
    address, length = prefix
    return int.from_bytes(address, "big") >> len(address) * 8 - length
