"""alloc: the lease is held and published; the traffic between nodes is somebody else's work."""

from contextlib import aclosing

from flannel_sdk.errors import RetryableError
from flannel_sdk.interfaces import BackendContext, LeaseAcquirer, PeerFeed
from flannel_sdk.model import Lease, LeaseAttrs, NetworkConfig
from flannel_sdk.toolkit import enabled_public_ips


class AllocNetwork:
    """A registered network without a data plane."""

    def __init__(self, lease: Lease, mtu: int) -> None:
        self.lease = lease
        self.mtu = mtu

    async def run(self, peers: PeerFeed) -> None:
        """As ``Network.run``: asking for the next update says that nothing is left to be done."""
        async with aclosing(peers.updates()) as updates:
            async for _ in updates:
                pass
        raise RetryableError("the feed of peers ended")


class AllocBackend:
    """alloc on one node."""

    def __init__(self, context: BackendContext) -> None:
        self._context = context

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> AllocNetwork:
        """As ``Backend.register_network``; publishes the public IPs, without a type, as flannel."""
        public_ips = enabled_public_ips(self._context, config)
        lease = await leases.acquire_lease(LeaseAttrs(public_ips))
        return AllocNetwork(lease, self._context.interface.mtu)
