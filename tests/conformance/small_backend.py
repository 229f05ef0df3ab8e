"""A backend that is small and right, in pieces that a fault can be put in place of."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager

from flannel_sdk.dataplane import (
    Device,
    FdbEntry,
    InterfaceAddress,
    KernelObject,
    Neighbour,
    Ownership,
    PeerObject,
    Route,
)
from flannel_sdk.interfaces import BackendContext, LeaseAcquirer, PeerFeed
from flannel_sdk.model import (
    ByFamily,
    Family,
    IPAddress,
    Lease,
    LeaseAttrs,
    MacAddress,
    NetworkConfig,
    PeerUpdate,
    Prefix,
    Subnets,
)
from flannel_sdk.task_groups import single_error
from flannel_sdk.toolkit import (
    KernelSession,
    enabled_public_ips,
    inner_mtu,
    network_ownership,
    open_kernel,
)

DEVICES = {Family.IPV4: "small4", Family.IPV6: "small6"}
OVERHEAD = {Family.IPV4: 50, Family.IPV6: 70}


def mac_of(public_ip: IPAddress) -> MacAddress:
    return MacAddress(b"\x02\x51" + public_ip[-4:])


class SmallNetwork:
    """One vxlan device a family; a peer's MAC follows from its public IP."""

    def __init__(self, backend: "SmallBackend", config: NetworkConfig) -> None:
        self.context = backend.context
        self.public_ips = enabled_public_ips(self.context, config)
        names = [DEVICES[family] for family in config.pools.families]
        self.ownership = network_ownership(config, names)
        self.lease = Lease(ByFamily(), LeaseAttrs(ByFamily()))
        self.peers: dict[Subnets, Lease] = {}

    @property
    def mtu(self) -> int:
        return min(self.device_mtu(family) for family in self.public_ips.families)

    def device_mtu(self, family: Family) -> int:
        return inner_mtu(family, self.context.interface.mtu, OVERHEAD[family])

    def devices(self) -> Sequence[Device]:
        return [
            self.device(family, public_ip)
            for family, public_ip in self.public_ips.items_by_family()
        ]

    def device(self, family: Family, public_ip: IPAddress) -> Device:
        local = "vxlan_local" if family is Family.IPV4 else "vxlan_local6"
        attributes = (
            *(("vxlan_id", 51), (local, str(public_ip)), ("vxlan_port", 4790)),
            ("vxlan_learning", 0),
        )
        lower, mtu = self.context.interface.name, self.device_mtu(family)
        return Device(DEVICES[family], "vxlan", mtu, self.mac(public_ip), lower, attributes)

    def mac(self, public_ip: IPAddress) -> MacAddress:
        return mac_of(public_ip)

    def own_objects(self) -> Sequence[KernelObject]:
        return (
            *self.devices(),
            *(
                InterfaceAddress(DEVICES[family], Prefix(subnet.address, family.bits))
                for family, subnet in self.lease.subnets.items_by_family()
            ),
        )

    def peer_objects(self, lease: Lease) -> Sequence[PeerObject]:
        objects: list[PeerObject] = []
        for family in self.public_ips.families:
            subnet, public_ip = lease.subnet(family), lease.attrs.public_ips.get(family)
            if subnet is not None and public_ip is not None and self.serves(lease):
                device, gateway = DEVICES[family], subnet.address
                objects.append(FdbEntry(device, mac_of(public_ip), public_ip))
                objects.append(Neighbour(device, gateway, mac_of(public_ip)))
                objects.append(Route(subnet, device, gateway, onlink=True))
        return objects

    def serves(self, lease: Lease) -> bool:
        return lease.attrs.backend_type == "small"

    async def run(self, peers: PeerFeed) -> None:
        self.peers.clear()
        async with open_kernel(self.context.netns, self.ownership) as session:
            await session.reconciler.set_node(self.own_objects())
            with single_error():
                async with asyncio.TaskGroup() as tasks:
                    self.start_repair(session, tasks)
                    await self.follow(session, peers)

    def start_repair(self, session: KernelSession, tasks: asyncio.TaskGroup) -> None:
        tasks.create_task(session.reconciler.run())

    async def follow(self, session: KernelSession, peers: PeerFeed) -> None:
        async with aclosing(peers.updates()) as updates:
            async for update in updates:
                await self.apply(session, update)

    async def apply(self, session: KernelSession, update: PeerUpdate) -> None:
        if update.full:
            self.peers.clear()
        for subnets in update.removed:
            self.forget(subnets)
        for lease in update.changed:
            self.remember(lease)
        await self.write(session, update.changed, update.removed, full=update.full)

    def forget(self, subnets: Subnets) -> None:
        self.peers.pop(subnets, None)

    def remember(self, lease: Lease) -> None:
        self.peers[lease.subnets] = lease

    async def write(
        self,
        session: KernelSession,
        changed: Iterable[Lease],
        removed: Iterable[Subnets],
        *,
        full: bool,
    ) -> None:
        wanted = ((lease.subnets, self.peer_objects(lease)) for lease in changed)
        await session.reconciler.update(wanted, removed, full=full)


class SmallBackend:
    network: type[SmallNetwork] = SmallNetwork

    def __init__(self, context: BackendContext) -> None:
        self.context = context

    @asynccontextmanager
    async def kernel(self, ownership: Ownership) -> AsyncIterator[KernelSession]:
        async with open_kernel(self.context.netns, ownership) as session:
            yield session

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> SmallNetwork:
        network = self.network(self, config)
        async with self.kernel(network.ownership) as session:
            await session.reconciler.set_node(network.devices())
            attrs = LeaseAttrs(network.public_ips, "small")
            network.lease = await leases.acquire_lease(attrs)
            await session.reconciler.set_node(network.own_objects())
        return network


class SmallPlugin:
    contract_version = 1
    backend: type[SmallBackend] = SmallBackend

    def create(self, context: BackendContext) -> SmallBackend:
        return self.backend(context)
