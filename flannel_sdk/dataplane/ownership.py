"""What in the kernel is ours: by device, by route protocol."""

from typing import NamedTuple

from flannel_sdk.model import IPAddress, Prefix

ROUTE_PROTOCOL = 102
"""The protocol number that our routes carry."""


class Ownership(NamedTuple):
    """What one network may change and prune; everything else in the kernel is foreign."""

    devices: frozenset[str] = frozenset()
    """Devices of our own: each permanent neighbour and FDB entry and each route that the kernel
    did not make is ours there, also a predecessor's."""
    networks: tuple[Prefix, ...] = ()
    """Routes of protocol 102 with a destination inside one of these are ours."""

    def covers(self, address: bytes, length: int) -> bool:
        """True if the destination lies inside one of the networks."""
        inner = Prefix(IPAddress(address), length)
        return any(network.covers(inner) for network in self.networks)
