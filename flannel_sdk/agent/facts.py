"""What the status socket tells of leases and interfaces, as values that JSON has."""

from collections.abc import Mapping

from flannel_sdk.agent.underlay import Underlay
from flannel_sdk.model import UNKNOWN_EXPIRY, Lease, NetworkConfig
from flannel_sdk.redaction import redacted


def lease_facts(lease: Lease) -> Mapping[str, object]:
    """A lease; ``expires_at`` is null where there is no end, or it is not known."""
    return {
        "subnets": [str(subnet) for _, subnet in lease.subnets.items_by_family()],
        "public_ips": [str(address) for _, address in lease.attrs.public_ips.items_by_family()],
        "backend": lease.attrs.backend_type,
        "backend_data": [data for _, data in lease.attrs.backend_data.items_by_family()],
        "expires_at": None if lease.expires_at == UNKNOWN_EXPIRY else lease.expires_at,
        "permanent": lease.expires_at is None,
    }


def interface_facts(underlay: Underlay | None) -> Mapping[str, object] | None:
    """The underlay interface, once it is chosen; ``problem`` is why it is not the host's newest."""
    if underlay is None:
        return None
    interface = underlay.applied
    return {
        "name": interface.name,
        "mtu": interface.mtu,
        "addresses": [str(address) for _, address in interface.addresses.items_by_family()],
        "public_ips": [str(address) for _, address in interface.public_ips.items_by_family()],
        "problem": underlay.problem,
    }


def config_facts(config: NetworkConfig) -> Mapping[str, object]:
    """The network's configuration as it is applied, without what looks like a secret."""
    return {
        "pools": [str(pool.network) for _, pool in config.pools.items_by_family()],
        "subnet_lengths": [pool.subnet_length for _, pool in config.pools.items_by_family()],
        "backend": config.backend_type,
        "backend_options": redacted(config.backend_options.values),
    }
