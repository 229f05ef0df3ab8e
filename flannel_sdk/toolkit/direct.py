"""DirectRouting: which peers a tunnel need not be used for, as they are on the underlay's link."""

from collections.abc import Collection

from flannel_sdk.model import IPAddress, Lease
from flannel_sdk.toolkit.session import KernelSession


class DirectRoutes:
    """The public IPs that the kernel reaches by exactly one way and without a gateway."""

    def __init__(self, own_devices: Collection[str]) -> None:
        self._own_devices = own_devices
        self._device_by_public_ip: dict[IPAddress, str] = {}
        self.device = self._device_by_public_ip.get
        """The underlay device that a public IP is reached on directly, or None: use the tunnel."""

    async def look_up(self, session: KernelSession, leases: Collection[Lease]) -> bool:
        """Ask the kernel about these peers; True if an answer differs from what was known.

        What the kernel has no route to is not direct. This is ``KernelNetwork.look_up_underlay``.
        """
        known = self._device_by_public_ip
        public_ips = {
            public_ip
            for lease in leases
            for public_ip in lease.attrs.public_ips
            if public_ip is not None
        }
        routes = await session.kernel.lookup_routes(tuple(public_ips))
        direct = {
            public_ip: route.device
            for public_ip, route in routes.items()
            if route.gateway is None
            and route.nexthops == 1
            and route.device != "lo"
            and route.device not in self._own_devices
        }
        before = {public_ip: known.pop(public_ip) for public_ip in public_ips & known.keys()}
        known.update(direct)
        return before != direct
