"""Which leases of others are believable by themselves: the checks that look at one lease only."""

from flannel_sdk.model.addresses import Family, IPAddress
from flannel_sdk.model.config import NetworkConfig
from flannel_sdk.model.lease import Lease

_IPV6_LOOPBACK = bytes(15) + b"\x01"


class PeerChecks:
    """Judges leases against one network and our own lease; costs about 1 us a lease."""

    def __init__(self, config: NetworkConfig, own: Lease) -> None:
        self._networks = [
            (
                family,
                pool.network.length,
                pool.network.masked().address,
                IPAddress.from_int(pool.network.last, family),
                str(pool.network.masked()),
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
        for family, length, first, last, text in self._networks:
            subnet = subnets.get(family)
            if subnet is None:
                continue
            # Packed addresses of one family compare as their numbers do.
            if subnet.length < length or not first <= subnet.address <= last:
                return f"its subnet is outside the network {text}"
            public_ip = public_ips.get(family)
            if public_ip is None:
                continue
            if public_ip in self._own_ips:
                return f"it publishes our own public IP {public_ip}"
            if not _is_unicast(public_ip, family):
                return f"its public IP {public_ip} is no unicast address of a host"
            served = True
        return None if served else "it has no subnet with a public IP of a family of this network"


def _is_unicast(address: IPAddress, family: Family) -> bool:
    """False for unspecified, loopback, multicast, reserved and broadcast addresses."""
    if family is Family.IPV4:
        return address[0] not in (0, 127) and address[0] < 224
    return address[0] != 0xFF and address != _IPV6_LOOPBACK and any(address)
