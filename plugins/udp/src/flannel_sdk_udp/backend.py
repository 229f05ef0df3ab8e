"""Registers a udp network: the lease, the TUN device with its address, and the choice of a path."""

from flannel_sdk import toolkit
from flannel_sdk.dataplane import TUN, Device, LinuxKernel
from flannel_sdk.errors import ConfigError, KernelRefused
from flannel_sdk.interfaces import BackendContext, LeaseAcquirer
from flannel_sdk.model import ByFamily, Family, IPAddress, LeaseAttrs, NetworkConfig, Prefix
from flannel_sdk_udp.choice import Decision, decide
from flannel_sdk_udp.datapath import Tunnel
from flannel_sdk_udp.network import UdpNetwork, device_objects
from flannel_sdk_udp.options import UdpOptions
from flannel_sdk_udp.peer_data import KERNEL_DATA

_OVERHEAD = 28
"""Bytes of the outer IPv4 and UDP headers."""
_MOST_DEVICES = 256


class UdpBackend:
    """udp on one node."""

    def __init__(self, context: BackendContext) -> None:
        self._context = context

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> UdpNetwork:
        """As ``Backend.register_network``; ConfigError names the option that is wrong."""
        options = UdpOptions.read(config.backend_options)
        pool = config.pools.get(Family.IPV4)
        if pool is None or config.pools.get(Family.IPV6) is not None:
            raise ConfigError(
                "EnableIPv6",
                "the udp backend carries IPv4 only: leave EnableIPv4 on and EnableIPv6 off, or"
                " choose another backend",
            )
        public_ips = toolkit.enabled_public_ips(self._context, config)
        mtu = toolkit.inner_mtu(Family.IPV4, toolkit.underlay_mtu(self._context), _OVERHEAD)
        async with toolkit.open_kernel(
            self._context.netns, toolkit.network_ownership(config)
        ) as session:
            name = await _device_name(session.kernel, pool.network)
        device = Device(name, TUN, mtu, mac=None)
        ownership = toolkit.network_ownership(config, [name])
        async with toolkit.open_kernel(self._context.netns, ownership) as session:
            await session.reconciler.set_node([device])
            tunnel = Tunnel(
                netns=self._context.netns,
                device=name,
                network=pool.network,
                subnet=pool.network,  # until there is a lease, for which the path is decided first
                underlay=self._context.interface.name,
                source=await toolkit.tunnel_source(self._context, Family.IPV4),
                port=options.port,
                mtu=mtu,
            )
            decision = await decide(tunnel, options.datapath)
            lease = await leases.acquire_lease(_attributes(public_ips, decision))
            subnet = lease.subnet(Family.IPV4)
            assert subnet is not None
            tunnel = tunnel._replace(subnet=subnet)
            await session.reconciler.set_node(device_objects(device, tunnel))
        return UdpNetwork(
            self._context, lease, ownership, device=device, tunnel=tunnel, decision=decision
        )


def _attributes(public_ips: ByFamily[IPAddress], decision: Decision) -> LeaseAttrs:
    if not decision.kernel:
        return LeaseAttrs(public_ips)
    return LeaseAttrs(public_ips, backend_data=ByFamily(KERNEL_DATA))


async def _device_name(kernel: LinuxKernel, network: Prefix) -> str:
    """The TUN device that an earlier run left for this network, else the first free name.

    Ours is known by an address inside the network, or by having none at all.
    """
    for number in range(_MOST_DEVICES):
        name = f"flannel{number}"
        link = await kernel.link(name)
        if link is None:
            return name
        if link.kind != TUN:
            continue
        addresses = [row for row in await kernel.addresses(link.ifindex) if len(row[0]) == 4]
        if all(network.covers(Prefix(IPAddress(row[0]), row[1])) for row in addresses):
            return name
    raise KernelRefused("there are 256 devices called flannel0 and so on: remove some", 0)
