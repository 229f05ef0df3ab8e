"""Registers a vxlan network: the devices first, for what they are is what the lease publishes."""

from flannel_sdk import toolkit
from flannel_sdk.dataplane import Device
from flannel_sdk.interfaces import BackendContext, LeaseAcquirer
from flannel_sdk.model import ByFamily, IPAddress, LeaseAttrs, NetworkConfig
from flannel_sdk_vxlan.device import derive_mac, device_name, vxlan_device
from flannel_sdk_vxlan.network import VxlanNetwork
from flannel_sdk_vxlan.options import VxlanOptions
from flannel_sdk_vxlan.vtep_data import VtepDataCodec


class VxlanBackend:
    """vxlan on one node."""

    def __init__(self, context: BackendContext) -> None:
        self._context = context

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> VxlanNetwork:
        """As ``Backend.register_network``; ConfigError names the option that is wrong."""
        options = VxlanOptions.read(config.backend_options)
        public_ips = toolkit.enabled_public_ips(self._context, config)
        names = [device_name(family, options.vni) for family in public_ips.families]
        ownership = toolkit.network_ownership(config, names)
        devices: ByFamily[Device] = ByFamily()
        data: ByFamily[str] = ByFamily()
        async with toolkit.open_kernel(self._context.netns, ownership) as session:
            for family, public_ip in public_ips.items_by_family():
                device = await self._device(session, options, public_ip)
                devices = devices.with_value(family, device)
            await session.reconciler.set_node([device for _, device in devices.items_by_family()])
            for family, mac in (await toolkit.device_macs(session, devices)).items_by_family():
                data = data.with_value(family, VtepDataCodec(options.vni).encode(mac))
            lease = await leases.acquire_lease(LeaseAttrs(public_ips, "vxlan", data))
            network = VxlanNetwork(self._context, lease, ownership, options, devices)
            await session.reconciler.set_node(network.device_objects())
        return network

    async def _device(
        self, session: toolkit.KernelSession, options: VxlanOptions, public_ip: IPAddress
    ) -> Device:
        name = device_name(public_ip.family, options.vni)
        return vxlan_device(
            options,
            await toolkit.tunnel_source(self._context, public_ip.family),
            mac=await toolkit.kept_mac(session, name, derive_mac(public_ip, options.vni)),
            lower=self._context.interface.name,
            underlay_mtu=toolkit.underlay_mtu(self._context, options.mtu),
        )
