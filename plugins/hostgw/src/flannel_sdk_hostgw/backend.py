"""host-gw: each peer's subnet is routed by way of its public IP, on the external interface."""

from collections.abc import Sequence

from flannel_sdk.dataplane import PeerObject, Route
from flannel_sdk.errors import ConfigError, MalformedEntry
from flannel_sdk.interfaces import BackendContext, LeaseAcquirer
from flannel_sdk.model import Lease, LeaseAttrs, NetworkConfig
from flannel_sdk.toolkit import KernelNetwork, enabled_public_ips, network_ownership


class HostGwNetwork(KernelNetwork):
    """A registered host-gw network."""

    backend_type = "host-gw"

    def peer_objects(self, lease: Lease) -> Sequence[PeerObject]:
        """One route for each family that both this node and the peer have."""
        interface = self.context.interface.name
        routes = tuple(
            Route(subnet, interface, gateway)
            for own, subnet, gateway in zip(
                self.lease.subnets, lease.subnets, lease.attrs.public_ips, strict=True
            )
            if own is not None and subnet is not None and gateway is not None
        )
        if not routes:
            raise MalformedEntry("its lease has no address family of this node")
        return routes


class HostGwBackend:
    """host-gw on one node; ConfigError if its public IP is not the interface's own address."""

    def __init__(self, context: BackendContext) -> None:
        interface = context.interface
        for family, public_ip in interface.public_ips.items_by_family():
            if public_ip != interface.addresses.get(family):
                raise ConfigError(
                    "public-ip" if len(public_ip) == 4 else "public-ipv6",
                    f"host-gw routes by way of a node's own address, so NAT is not supported:"
                    f" {public_ip} is not the {family} address of {interface.name}",
                )
        self._context = context

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> HostGwNetwork:
        """As ``Backend.register_network``; publishes the public IPs and makes nothing."""
        public_ips = enabled_public_ips(self._context, config)
        lease = await leases.acquire_lease(LeaseAttrs(public_ips, "host-gw"))
        return HostGwNetwork(self._context, lease, network_ownership(config))
