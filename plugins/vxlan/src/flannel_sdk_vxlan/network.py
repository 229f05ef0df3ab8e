"""What each vxlan peer needs in the kernel: FDB entry, neighbour and route, or a direct route."""

from collections.abc import Collection, Mapping, Sequence

from flannel_sdk.dataplane import Device, FdbEntry, Neighbour, Ownership, PeerObject, Route
from flannel_sdk.errors import MalformedEntry
from flannel_sdk.interfaces import BackendContext
from flannel_sdk.model import ByFamily, Lease
from flannel_sdk.toolkit import DirectRoutes, KernelNetwork, KernelSession
from flannel_sdk_vxlan.options import VxlanOptions
from flannel_sdk_vxlan.vtep_data import VtepDataCodec


class VxlanNetwork(KernelNetwork):
    """A registered vxlan network; ``devices`` holds one device for each enabled family."""

    backend_type = "vxlan"

    def __init__(
        self,
        context: BackendContext,
        lease: Lease,
        ownership: Ownership,
        options: VxlanOptions,
        devices: ByFamily[Device],
    ) -> None:
        super().__init__(context, lease, ownership, devices=devices)
        self.follows_underlay = options.direct_routing
        self._places = [(place, device.name) for place, device in enumerate(devices) if device]
        self._decode = VtepDataCodec(options.vni).decode
        self._direct = DirectRoutes(ownership.devices)
        self._udp_port = options.port

    def peer_objects(self, lease: Lease) -> Sequence[PeerObject]:
        """Only of the families that both this node and the peer have."""
        objects: tuple[PeerObject, ...] = ()
        attrs = lease.attrs
        for place, device in self._places:
            subnet = lease.subnets[place]
            public_ip = attrs.public_ips[place]
            data = attrs.backend_data[place]
            if subnet is None or public_ip is None or data is None:
                continue
            mac = self._decode(data)
            underlay = self._direct.device(public_ip)
            if underlay is not None:
                objects += (Route(subnet, underlay, public_ip),)
                continue
            gateway = subnet.address
            objects += (
                FdbEntry(device, mac, public_ip),
                Neighbour(device, gateway, mac),
                Route(subnet, device, gateway, True),
            )
        if not objects:
            raise MalformedEntry("its lease has no vxlan data for an address family of this node")
        return objects

    def status(self) -> Mapping[str, object]:
        """As ``KernelNetwork.status``, with the port that peers are sent to."""
        return {**super().status(), "udp_port": self._udp_port}

    async def look_up_underlay(self, session: KernelSession, leases: Collection[Lease]) -> bool:
        """For DirectRouting: who is on the link of the underlay."""
        return await self._direct.look_up(session, leases)
