"""What most backends do the same way in ``register_network``."""

import asyncio
import errno
import logging
import socket
from collections.abc import Iterable

from flannel_sdk.dataplane import Device, Ownership
from flannel_sdk.errors import ConfigError, InterfaceUnavailable, KernelError
from flannel_sdk.interfaces import BackendContext
from flannel_sdk.model import ByFamily, Family, IPAddress, MacAddress, NetworkConfig
from flannel_sdk.netns import run_in_netns
from flannel_sdk.toolkit.session import KernelSession

_logger = logging.getLogger(__name__)
_LEAST_MTU = {Family.IPV4: 68, Family.IPV6: 1280}


def enabled_public_ips(context: BackendContext, config: NetworkConfig) -> ByFamily[IPAddress]:
    """This node's public IP of each family that ``config`` enables: what a lease publishes.

    InterfaceUnavailable if one is lacking.
    """
    public_ips: ByFamily[IPAddress] = ByFamily()
    for family in config.pools.families:
        public_ip = context.interface.public_ips.get(family)
        if public_ip is None:
            raise InterfaceUnavailable(
                f"the network has {family} subnets, but interface {context.interface.name} has no"
                f" {family} address"
            )
        public_ips = public_ips.with_value(family, public_ip)
    return public_ips


def network_ownership(config: NetworkConfig, devices: Iterable[str] = ()) -> Ownership:
    """All that is on ``devices``, and our routes into the pools of ``config`` on any device."""
    return Ownership(
        devices=frozenset(devices),
        networks=tuple(pool.network for _, pool in config.pools.items_by_family()),
    )


def underlay_mtu(context: BackendContext, wanted: int | None = None) -> int:
    """Bytes that the underlay carries: ``wanted`` (a backend's MTU option), or the interface's MTU.

    Never more than the interface's, for the kernel would not make such a device: a warning.
    """
    interface = context.interface
    if wanted is not None and wanted > interface.mtu:
        _logger.warning(
            "Backend.MTU is %d, but %s carries %d bytes only: using %d",
            wanted,
            interface.name,
            interface.mtu,
            interface.mtu,
        )
    return min(wanted or interface.mtu, interface.mtu)


def inner_mtu(family: Family, outer_mtu: int, overhead: int) -> int:
    """The MTU inside a tunnel that adds ``overhead``; all in bytes.

    ConfigError if ``family`` cannot do with what is left: a device could not have its addresses.
    """
    mtu = outer_mtu - overhead
    if mtu < _LEAST_MTU[family]:
        raise ConfigError(
            "Backend.MTU",
            f"an underlay MTU of {outer_mtu} bytes leaves {mtu} inside the tunnel, but {family}"
            f" needs {_LEAST_MTU[family]}: raise Backend.MTU or the MTU of the interface",
        )
    return mtu


async def tunnel_source(context: BackendContext, family: Family) -> IPAddress:
    """What a tunnel sends from: the public IP where this node has it, else the interface's own.

    A public IP that NAT translates to ours is for peers to send to, and nothing to send from.
    InterfaceUnavailable if there is no address of this family.
    """
    own = context.interface.addresses.get(family)
    public_ip = context.interface.public_ips.get(family) or own
    if public_ip is None:
        raise InterfaceUnavailable(f"interface {context.interface.name} has no {family} address")
    if own is None or own == public_ip:
        return public_ip
    return public_ip if await asyncio.to_thread(_is_local, context.netns, public_ip) else own


def _is_local(netns: str | None, address: IPAddress) -> bool:
    """True if this node has ``address``: only then would it send to it from itself."""

    def chosen_source() -> str:
        with socket.socket(int(address.family), socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))  # of a datagram socket: looks up, sends nothing
            return str(probe.getsockname()[0])

    try:
        return IPAddress.parse(run_in_netns(netns, chosen_source)) == address
    except OSError:
        return False


def is_station(mac: MacAddress) -> bool:
    """True for the address of one station: neither a group's nor all zeros."""
    return not mac[0] & 1 and any(mac)


async def kept_mac(session: KernelSession, device: str, fresh: MacAddress) -> MacAddress:
    """The MAC that ``device`` has, if it is there, for peers know it; else ``fresh``."""
    try:
        mac = await session.reconciler.device_mac(device)
    except KernelError as error:
        if error.errno == errno.ENODEV:
            return fresh
        raise
    return mac if is_station(mac) else fresh


async def device_macs(session: KernelSession, devices: ByFamily[Device]) -> ByFamily[MacAddress]:
    """The MAC that each device really has, for publishing; they have to exist."""
    macs: ByFamily[MacAddress] = ByFamily()
    for family, device in devices.items_by_family():
        macs = macs.with_value(family, await session.reconciler.device_mac(device.name))
    return macs
