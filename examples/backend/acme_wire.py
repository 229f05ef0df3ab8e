"""A backend by somebody else: vxlan whose MACs follow from the public IPs, so leases carry none."""

from collections.abc import Sequence

from flannel_sdk.dataplane import Device, FdbEntry, Neighbour, PeerObject, Route
from flannel_sdk.errors import ConfigError, MalformedEntry
from flannel_sdk.interfaces import BackendContext, LeaseAcquirer
from flannel_sdk.model import ByFamily, IPAddress, Lease, LeaseAttrs, MacAddress, NetworkConfig
from flannel_sdk.toolkit import KernelNetwork, network_ownership

DEVICE = "wire0"


def mac_of(public_ip: IPAddress) -> MacAddress:
    return MacAddress(b"\x02\xaa" + public_ip)


class WireNetwork(KernelNetwork):
    backend_type = "wire"

    def peer_objects(self, lease: Lease) -> Sequence[PeerObject]:
        subnet, public_ip = lease.subnets.ipv4, lease.attrs.public_ips.ipv4
        if subnet is None or public_ip is None:
            raise MalformedEntry("its lease has no IPv4")
        return (
            FdbEntry(DEVICE, mac_of(public_ip), public_ip),
            Neighbour(DEVICE, subnet.address, mac_of(public_ip)),
            Route(subnet, DEVICE, subnet.address, onlink=True),
        )


class WireBackend:
    def __init__(self, context: BackendContext) -> None:
        self.context = context

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> WireNetwork:
        interface = self.context.interface
        public_ip = interface.public_ips.ipv4
        if public_ip is None or config.pools.ipv6 is not None:
            raise ConfigError("Backend.Type", "the wire backend serves IPv4 networks only")
        port = config.backend_options.integer("Port", 4789, minimum=1, maximum=65535)
        vxlan = {"id": 77, "local": str(public_ip), "port": port, "learning": 0}
        attributes = tuple((f"vxlan_{name}", value) for name, value in vxlan.items())
        mtu = interface.mtu - 50  # outer IPv4, UDP and VXLAN headers, inner Ethernet header
        device = Device(DEVICE, "vxlan", mtu, mac_of(public_ip), interface.name, attributes)
        lease = await leases.acquire_lease(LeaseAttrs(ByFamily(public_ip), "wire"))
        owned = network_ownership(config, [DEVICE])
        return WireNetwork(self.context, lease, owned, devices=ByFamily(device))


class WirePlugin:
    contract_version = 1

    def create(self, context: BackendContext) -> WireBackend:
        return WireBackend(context)


plugin = WirePlugin()
