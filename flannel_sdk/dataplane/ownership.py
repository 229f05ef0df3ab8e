"""What in the kernel is ours: by device, by route protocol, by nexthop id."""

from typing import NamedTuple
from zlib import crc32

from flannel_sdk.model import IPAddress, Prefix

ROUTE_PROTOCOL = 102
"""The protocol number that our routes and nexthops carry."""

_NEXTHOP_BASE = 0x40000000
_NEXTHOP_BITS = 20


class Ownership(NamedTuple):
    """What one network may change and prune; everything else in the kernel is foreign."""

    devices: frozenset[str] = frozenset()
    """Devices of our own: each permanent neighbour and FDB entry and each route that the kernel
    did not make is ours there, also a predecessor's."""
    networks: tuple[Prefix, ...] = ()
    """Routes of protocol 102 with a destination inside one of these are ours."""

    def nexthop_ids(self) -> range:
        """The ids that nexthop objects of this network are taken from; the same after a restart."""
        names = " ".join([*sorted(self.devices), *sorted(map(str, self.networks))])
        first = _NEXTHOP_BASE | (crc32(names.encode()) & 0x3FF) << _NEXTHOP_BITS
        return range(first + 1, first + (1 << _NEXTHOP_BITS))

    def covers(self, address: bytes, length: int) -> bool:
        """True if the destination lies inside one of the networks."""
        inner = Prefix(IPAddress(address), length)
        return any(network.covers(inner) for network in self.networks)
