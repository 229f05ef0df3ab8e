"""A registered udp network: its TUN device and route, its peers, and the paths that carry."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, aclosing

from flannel_sdk.dataplane import (
    Device,
    InterfaceAddress,
    KernelObject,
    Ownership,
    PeerObject,
    Route,
)
from flannel_sdk.errors import MalformedEntry
from flannel_sdk.interfaces import BackendContext, Network
from flannel_sdk.model import ByFamily, Lease, PeerUpdate, Prefix
from flannel_sdk.task_groups import single_error
from flannel_sdk.toolkit import KernelNetwork, KernelSession
from flannel_sdk_udp.choice import Decision
from flannel_sdk_udp.datapath import Datapath, DeviceGone, Peer, Tunnel
from flannel_sdk_udp.peer_data import says_kernel
from flannel_sdk_udp.userspace import UserspacePath

_METRIC = 1
"""Not flanneld's 0: one that takes over the node adds its route beside what we left, and wins."""


def device_objects(device: Device, tunnel: Tunnel) -> Sequence[KernelObject]:
    """What a node needs for itself; what is in nobody's subnet meets the device too."""
    return (
        device,
        InterfaceAddress(device.name, Prefix(tunnel.subnet.address, 32)),
        Route(tunnel.network, device.name, None, metric=_METRIC),
    )


class UdpNetwork(KernelNetwork):
    """One udp network on this node."""

    backend_type = ""
    """What flannel's udp nodes publish."""

    def __init__(
        self,
        context: BackendContext,
        lease: Lease,
        ownership: Ownership,
        *,
        device: Device,
        tunnel: Tunnel,
        decision: Decision,
    ) -> None:
        super().__init__(context, lease, ownership, devices=ByFamily(device))
        self._device = device
        self._tunnel = tunnel
        self._decision = decision
        self._paths: list[Datapath] = []
        self._attached = asyncio.Event()

    def device_objects(self) -> Sequence[KernelObject]:
        """The device, its address, and the route of the whole network."""
        return device_objects(self._device, self._tunnel)

    def peer_objects(self, lease: Lease) -> Sequence[PeerObject]:
        """None: a peer is an entry of the forwarding tables."""
        if lease.subnets.ipv4 is None or lease.attrs.public_ips.ipv4 is None:
            raise MalformedEntry("its lease has no IPv4 subnet and public IP")
        return ()

    async def take_peers(self, update: PeerUpdate) -> None:
        """Put them into the tables of both paths."""
        await self._attached.wait()
        changed = {
            lease.subnets.ipv4: Peer(
                lease.attrs.public_ips.ipv4, says_kernel(lease.attrs.backend_data.ipv4)
            )
            for lease in update.changed
            if lease.subnets.ipv4 is not None and lease.attrs.public_ips.ipv4 is not None
        }
        removed = [subnets.ipv4 for subnets in update.removed if subnets.ipv4 is not None]
        for path in self._paths:
            await path.update(changed, removed, full=update.full)

    async def carry(self, session: KernelSession) -> None:
        """Carry packets; what was on a device that somebody deleted is put on the new one."""
        async with AsyncExitStack() as stack:
            paths: list[Datapath] = [UserspacePath(self._tunnel, alone=not self._decision.kernel)]
            if self._decision.kernel:
                from flannel_sdk_udp.ebpf import open_kernel_path

                paths.append(open_kernel_path(self._tunnel))
            for path in paths:
                await stack.enter_async_context(aclosing(path))
            self._paths = paths
            stack.callback(self._forget_paths)
            while True:
                try:
                    await self._carry_on_device(paths)
                except DeviceGone:
                    await session.reconciler.set_node(self.node_objects())

    async def _carry_on_device(self, paths: Sequence[Datapath]) -> None:
        for path in paths:
            await path.attach()
        self._attached.set()
        with single_error():
            async with asyncio.TaskGroup() as tasks:
                for path in paths:
                    tasks.create_task(path.run())

    def _forget_paths(self) -> None:
        self._attached.clear()
        self._paths = []

    async def retire(self, successor: Network) -> None:
        """As ``SupportsRetire.retire``: also what the kernel's path left on the underlay."""
        others = successor.devices if isinstance(successor, KernelNetwork) else ByFamily[Device]()
        if self._tunnel.device not in {device.name for _, device in others.items_by_family()}:
            from flannel_sdk_udp.ebpf import open_kernel_path

            async with aclosing(open_kernel_path(self._tunnel)) as path:
                await path.remove()
        await super().retire(successor)

    def status(self) -> Mapping[str, object]:
        """As ``KernelNetwork.status``, with ``datapath``: which, why, and counters of each."""
        counts = dict(super().status())
        counts["udp_port"] = self._tunnel.port
        counts["datapath"] = {
            "device": self._tunnel.device,
            "path": self._decision.name,
            "why": self._decision.why,
            "counters": {
                path.name: {c.name.lower(): n for c, n in path.counters().items()}
                for path in self._paths
            },
        }
        return counts
