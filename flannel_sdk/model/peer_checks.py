"""Which leases of others are believable by themselves: the checks that look at one lease only."""

from flannel_sdk.model.addresses import Family, IPAddress
from flannel_sdk.model.config import NetworkConfig
from flannel_sdk.model.lease import Lease

_NO_NODE4 = frozenset({0, 127, *range(224, 256)})
"""First octets of IPv4 addresses that no node has: this network, loopback, multicast, reserved."""
_MAPPED = b"\0" * 10 + b"\xff\xff"
_UP_TO_LOOPBACK = bytes(15)


def is_node_address(address: IPAddress) -> bool:
    """True for a unicast address that a node may publish: no loopback, multicast, zero, reserved.

    IPv4 in the disguise of IPv6 is none either.
    """
    return address[0] not in _NO_NODE4 if len(address) == 4 else _is_node6(address)


class PeerChecks:
    """Judges leases against one network and our own lease; costs about 0.4 us a lease."""

    def __init__(self, config: NetworkConfig, own: Lease) -> None:
        # Indexes into ByFamily, plain bytes and no enum: this runs for each lease of a snapshot.
        self._networks = [
            (
                int(family is Family.IPV6),
                pool.network.length,
                bytes(IPAddress.from_int(pool.network.first, family)),
                bytes(IPAddress.from_int(pool.network.last, family)),
                str(pool.network),
            )
            for family, pool in config.pools.items_by_family()
        ]
        self._own_ips = {ip for _, ip in own.attrs.public_ips.items_by_family()}

    def problem(self, lease: Lease) -> str | None:
        """Why this lease is not believed, as a phrase; None if it is.

        Only the families of our network count. A family without a public IP is not served, which
        is the lease's problem only where no family is left.
        """
        served = False
        subnets, public_ips = lease.subnets, lease.attrs.public_ips
        for index, shortest, first, last, text in self._networks:
            subnet = subnets[index]
            if subnet is None:
                continue
            address, length = subnet
            # Packed addresses of one family compare as their numbers do.
            if length < shortest or not first <= address <= last:
                return f"its subnet is outside the network {text}"
            if length == shortest:
                return f"its subnet leaves nothing of the network {text} to others"
            public_ip = public_ips[index]
            if public_ip is None:
                continue
            if public_ip in self._own_ips:
                return f"it publishes our own public IP {public_ip}"
            if public_ip[0] in _NO_NODE4 if index == 0 else not _is_node6(public_ip):
                return f"its public IP {public_ip} is no unicast address of a host"
            served = True
        return None if served else "it has no subnet with a public IP of a family of this network"


def _is_node6(address: IPAddress) -> bool:
    """False for multicast, the unspecified and the loopback address, and for IPv4 in disguise."""
    return not (
        address[0] == 0xFF
        or (address.startswith(_UP_TO_LOOPBACK) and address[15] <= 1)
        or address.startswith(_MAPPED)
    )
