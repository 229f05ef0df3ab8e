"""Small backends with one fault each, and the requirement that has to tell."""

import asyncio
import random
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import ClassVar, NamedTuple

from flannel_sdk.dataplane import Ownership, PeerObject, Reconciler, Route
from flannel_sdk.errors import FlannelError, KernelError, OutOfSubnets, StoreUnavailable
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
from flannel_sdk.toolkit import KernelSession
from tests.conformance.small_backend import SmallBackend, SmallNetwork, SmallPlugin


class RemoveIgnored(SmallNetwork):
    async def write(
        self,
        session: KernelSession,
        changed: Iterable[Lease],
        removed: Iterable[Subnets],
        *,
        full: bool,
    ) -> None:
        await super().write(session, changed, (), full=full)


class ErrorSwallowed(SmallNetwork):
    """What the kernel refuses is never tried again, as nobody repairs."""

    def start_repair(self, session: KernelSession, tasks: asyncio.TaskGroup) -> None:
        pass


class RefusalSwallowed(SmallNetwork):
    async def run(self, peers: PeerFeed) -> None:
        with suppress(FlannelError):
            await super().run(peers)
        async with aclosing(peers.updates()) as updates:
            async for _ in updates:
                pass


class RawError(SmallNetwork):
    async def run(self, peers: PeerFeed) -> None:
        try:
            await super().run(peers)
        except KernelError as error:
            raise OSError(error.errno, "it did not work") from error


class CancelSwallowed(SmallNetwork):
    async def run(self, peers: PeerFeed) -> None:
        with suppress(asyncio.CancelledError):
            await super().run(peers)


class NeverReturns(SmallNetwork):
    async def run(self, peers: PeerFeed) -> None:
        while True:
            try:
                await super().run(peers)
            except asyncio.CancelledError:
                await asyncio.sleep(5)


class WaitsForTheKernelToFinish(SmallNetwork):
    async def write(
        self,
        session: KernelSession,
        changed: Iterable[Lease],
        removed: Iterable[Subnets],
        *,
        full: bool,
    ) -> None:
        writing = asyncio.ensure_future(super().write(session, changed, removed, full=full))
        try:
            await asyncio.shield(writing)
        finally:
            await asyncio.wait([writing], timeout=30)
            writing.cancel()


class MtuTooBig(SmallNetwork):
    @property
    def mtu(self) -> int:
        return self.context.interface.mtu


class DeviceMtuTooBig(SmallNetwork):
    def device_mtu(self, family: Family) -> int:
        return self.context.interface.mtu - 20


class MtuOverIPv6TooBig(SmallNetwork):
    def device_mtu(self, family: Family) -> int:
        return super().device_mtu(family) + (4 if family is Family.IPV6 else 0)


class MtuFixed(SmallNetwork):
    def device_mtu(self, family: Family) -> int:
        return 1300


async def flush(session: KernelSession, ownership: Ownership) -> None:
    """All peers' objects."""
    await Reconciler(session.kernel, ownership).update([], full=True)


class FlushAtStart(SmallNetwork):
    async def follow(self, session: KernelSession, peers: PeerFeed) -> None:
        await flush(session, self.ownership)
        await super().follow(session, peers)


class FlushAtStop(SmallNetwork):
    async def follow(self, session: KernelSession, peers: PeerFeed) -> None:
        try:
            await super().follow(session, peers)
        finally:
            await flush(session, self.ownership)


class DeviceRemadeAtStart(SmallBackend):
    @asynccontextmanager
    async def kernel(self, ownership: Ownership) -> AsyncIterator[KernelSession]:
        async with super().kernel(ownership) as session:
            for name in sorted(ownership.devices):
                link = await session.kernel.link(name)
                if link is not None:
                    await session.kernel.remove_link(link.ifindex)
            yield session


class RandomMac(SmallNetwork):
    def mac(self, public_ip: IPAddress) -> MacAddress:
        return MacAddress(b"\x02" + random.randbytes(5))


class NotIdempotent(SmallNetwork):
    async def write(
        self,
        session: KernelSession,
        changed: Iterable[Lease],
        removed: Iterable[Subnets],
        *,
        full: bool,
    ) -> None:
        leases = list(changed)
        await session.reconciler.update([], [lease.subnets for lease in leases], full=False)
        await super().write(session, leases, removed, full=full)


class OwnLeaseIsAPeer(SmallNetwork):
    async def write(
        self,
        session: KernelSession,
        changed: Iterable[Lease],
        removed: Iterable[Subnets],
        *,
        full: bool,
    ) -> None:
        await super().write(session, [self.lease, *changed], removed, full=full)


class StaleAttributes(SmallNetwork):
    async def write(
        self,
        session: KernelSession,
        changed: Iterable[Lease],
        removed: Iterable[Subnets],
        *,
        full: bool,
    ) -> None:
        known = [self.peers[lease.subnets] for lease in changed]
        await super().write(session, known, removed, full=full)

    def remember(self, lease: Lease) -> None:
        self.peers.setdefault(lease.subnets, lease)


class FullIsADelta(SmallNetwork):
    async def apply(self, session: KernelSession, update: PeerUpdate) -> None:
        full = update.full and not self.peers
        for lease in update.changed:
            self.remember(lease)
        await self.write(session, update.changed, update.removed, full=full)


class NeverPrunes(SmallNetwork):
    async def apply(self, session: KernelSession, update: PeerUpdate) -> None:
        await self.write(session, update.changed, update.removed, full=False)


class DeltaIsFull(SmallNetwork):
    async def apply(self, session: KernelSession, update: PeerUpdate) -> None:
        await self.write(session, update.changed, (), full=True)


class AppliesLater(SmallNetwork):
    def __init__(self, backend: SmallBackend, config: NetworkConfig) -> None:
        super().__init__(backend, config)
        self.queue: asyncio.Queue[PeerUpdate] = asyncio.Queue()

    def start_repair(self, session: KernelSession, tasks: asyncio.TaskGroup) -> None:
        super().start_repair(session, tasks)
        tasks.create_task(self.work_off(session))

    async def work_off(self, session: KernelSession) -> None:
        while True:
            update = await self.queue.get()
            await asyncio.sleep(1)
            await super().apply(session, update)

    async def apply(self, session: KernelSession, update: PeerUpdate) -> None:
        self.queue.put_nowait(update)


class NoRoutes(SmallNetwork):
    def peer_objects(self, lease: Lease) -> Sequence[PeerObject]:
        return [one for one in super().peer_objects(lease) if not isinstance(one, Route)]


class RoutesBothFamilies(SmallNetwork):
    """A node of one family routes the other one of its peers too."""

    def peer_objects(self, lease: Lease) -> Sequence[PeerObject]:
        others = [
            Route(subnet, self.devices()[0].name, None)
            for family, subnet in lease.subnets.items_by_family()
            if family not in self.public_ips.families
        ]
        return [*super().peer_objects(lease), *others]


class UnknownRemovalCrashes(SmallNetwork):
    def forget(self, subnets: Subnets) -> None:
        del self.peers[subnets]


class MalformedPeerCrashes(SmallNetwork):
    def remember(self, lease: Lease) -> None:
        assert lease.attrs.public_ips.families
        super().remember(lease)


class ForeignObjectsRemoved(SmallNetwork):
    def __init__(self, backend: SmallBackend, config: NetworkConfig) -> None:
        super().__init__(backend, config)
        everything = Prefix.parse("10.0.0.0/8")
        self.ownership = self.ownership._replace(networks=(everything,))


class ReturnsWhenIdle(SmallNetwork):
    async def run(self, peers: PeerFeed) -> None:
        try:
            async with asyncio.timeout(600):
                await super().run(peers)
        except TimeoutError:
            pass


class BusyWhenIdle(SmallNetwork):
    """Writes everything anew each minute."""

    def start_repair(self, session: KernelSession, tasks: asyncio.TaskGroup) -> None:
        super().start_repair(session, tasks)
        tasks.create_task(self.rewrite(session))

    async def rewrite(self, session: KernelSession) -> None:
        while True:
            await asyncio.sleep(60)
            leases = list(self.peers.values())
            for gone in ([lease.subnets for lease in leases], []):
                changed = [] if gone else leases
                await self.write(session, changed, gone, full=False)


class RunsOnce(SmallNetwork):
    ran = False

    async def run(self, peers: PeerFeed) -> None:
        if self.ran:
            raise RuntimeError("it has run before")
        self.ran = True
        await super().run(peers)


class TaskLeftBehind(SmallNetwork):
    async def run(self, peers: PeerFeed) -> None:
        self.forgotten = asyncio.create_task(asyncio.sleep(3600))
        await super().run(peers)


class ConnectionLeftOpen(SmallBackend):
    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> SmallNetwork:
        network = await super().register_network(config, leases)
        self.forgotten = self.kernel(Ownership())
        await self.forgotten.__aenter__()
        return network


class OneFamilyPublished(SmallBackend):
    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> SmallNetwork:
        class First:
            async def acquire_lease(self, attrs: LeaseAttrs) -> Lease:
                first = attrs.public_ips
                only = ByFamily(first.ipv4) if first.ipv4 else first
                return await leases.acquire_lease(LeaseAttrs(only, attrs.backend_type))

        return await super().register_network(config, First())


class WrongMac(SmallNetwork):
    """Peers' frames go to a station that nobody is."""

    def mac(self, public_ip: IPAddress) -> MacAddress:
        return MacAddress(b"\x02\x52" + public_ip[-4:])


class ThreadLeftBehind(SmallNetwork):
    async def run(self, peers: PeerFeed) -> None:
        threading.Thread(target=time.sleep, args=(5,), name="forgotten").start()
        await super().run(peers)


class SecondFamilyForgotten(SmallNetwork):
    def peer_objects(self, lease: Lease) -> Sequence[PeerObject]:
        objects = super().peer_objects(lease)
        return objects[:3]


class RightsSwallowed(SmallBackend):
    network = RefusalSwallowed

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> SmallNetwork:
        try:
            return await super().register_network(config, leases)
        except FlannelError:
            network = self.network(self, config)
            network.lease = await leases.acquire_lease(LeaseAttrs(network.public_ips, "small"))
            return network


class RegistersOnce(SmallBackend):
    """Gives what it has registered first, whatever the configuration has become."""

    registered: SmallNetwork | None = None

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> SmallNetwork:
        self.registered = self.registered or await super().register_network(config, leases)
        return self.registered


class LeaseErrorSwallowed(SmallBackend):
    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> SmallNetwork:
        try:
            return await super().register_network(config, leases)
        except (StoreUnavailable, OutOfSubnets):
            return self.network(self, config)


class LeaseErrorRaw(SmallBackend):
    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> SmallNetwork:
        try:
            return await super().register_network(config, leases)
        except StoreUnavailable as error:
            raise RuntimeError("it has no lease") from error


class LeaseShielded(SmallBackend):
    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> SmallNetwork:
        class Shielded:
            async def acquire_lease(self, attrs: LeaseAttrs) -> Lease:
                return await asyncio.shield(asyncio.ensure_future(leases.acquire_lease(attrs)))

        return await super().register_network(config, Shielded())


class PeersOfTheProcess(SmallNetwork):
    """What is known of peers is kept once a process."""

    known: ClassVar[dict[Subnets, Lease]] = {}

    def __init__(self, backend: SmallBackend, config: NetworkConfig) -> None:
        super().__init__(backend, config)
        self.peers = self.known

    async def write(
        self,
        session: KernelSession,
        changed: Iterable[Lease],
        removed: Iterable[Subnets],
        *,
        full: bool,
    ) -> None:
        await super().write(session, list(self.peers.values()), (), full=True)


class HoldsTheLoopUp(SmallNetwork):
    async def apply(self, session: KernelSession, update: PeerUpdate) -> None:
        time.sleep(0.7)  # noqa: ASYNC251  # the fault
        await super().apply(session, update)


class OldContract(SmallPlugin):
    contract_version = 0


class SocketAtCreation(SmallPlugin):
    def create(self, context: BackendContext) -> SmallBackend:
        with socket.socket():
            return super().create(context)


class Fault(NamedTuple):
    """A fault and the requirement that tells it."""

    part: type[SmallNetwork | SmallBackend | SmallPlugin]
    requirement: str
    says: str
    """What the kit's sentence has in it."""

    def plugin(self) -> SmallPlugin:
        """The small backend with the fault."""
        part = self.part
        if issubclass(part, SmallPlugin):
            return part()
        backend = part if issubclass(part, SmallBackend) else SmallBackend
        network = part if issubclass(part, SmallNetwork) else backend.network
        made = type(part.__name__, (backend,), {"network": network})
        plugin = SmallPlugin()
        plugin.backend = made
        return plugin


FAULTS = (
    Fault(OldContract, "B001", "contract_version is 0"),
    Fault(SocketAtCreation, "B002", "a socket"),
    Fault(OneFamilyPublished, "B101", "it publishes"),
    Fault(MtuTooBig, "B102", "carries"),
    Fault(DeviceMtuTooBig, "B102", "at most"),
    Fault(MtuOverIPv6TooBig, "B102", "IPv6: small6 has an MTU of 1434"),
    Fault(MtuFixed, "B102", "on an underlay of 1500 bytes"),
    Fault(TaskLeftBehind, "B103", "run left 1 tasks"),
    Fault(ConnectionLeftOpen, "B103", "left a connection"),
    Fault(ThreadLeftBehind, "B103", "threads go on: forgotten"),
    Fault(FlushAtStart, "B104", "while it waits for an update: missing"),
    Fault(DeviceRemadeAtStart, "B104", "took away"),
    Fault(NeverPrunes, "B105", "should not be there"),
    Fault(FullIsADelta, "B106", "should not be there"),
    Fault(DeltaIsFull, "B107", "missing"),
    Fault(AppliesLater, "B108", "missing"),
    Fault(NoRoutes, "B109", "no route leads to"),
    Fault(NotIdempotent, "B110", "wrote to the kernel"),
    Fault(RemoveIgnored, "B111", "should not be there"),
    Fault(UnknownRemovalCrashes, "B112", "KeyError"),
    Fault(StaleAttributes, "B113", "after a change of a peer's"),
    Fault(RoutesBothFamilies, "B114", "is routed"),
    Fault(OwnLeaseIsAPeer, "B115", "takes it away"),
    Fault(MalformedPeerCrashes, "B116", "AssertionError"),
    Fault(RegistersOnce, "B117", "registered again on the same backend"),
    Fault(LeaseErrorSwallowed, "B118", "is swallowed"),
    Fault(LeaseErrorRaw, "B118", "comes out as RuntimeError"),
    Fault(LeaseShielded, "B118", "leaves 1 tasks"),
    Fault(PeersOfTheProcess, "B119", "beside another network"),
    Fault(ErrorSwallowed, "B120", "missing"),
    Fault(RawError, "B120", "OSError, which is no FlannelError"),
    Fault(RefusalSwallowed, "B120", "missing"),
    Fault(RightsSwallowed, "B121", "neither register_network nor run raises"),
    Fault(ForeignObjectsRemoved, "B122", "missing"),
    Fault(ErrorSwallowed, "B123", "was deleted"),
    Fault(ErrorSwallowed, "B124", "the theft of"),
    Fault(CancelSwallowed, "B130", "swallowed its cancellation"),
    Fault(NeverReturns, "B130", "went on for more than 1 s"),
    Fault(WaitsForTheKernelToFinish, "B131", "went on for more than 1 s"),
    Fault(FlushAtStop, "B132", "after the stop: missing"),
    Fault(DeviceRemadeAtStart, "B133", "remove device"),
    Fault(RandomMac, "B133", "another MAC"),
    Fault(ReturnsWhenIdle, "B134", "returned"),
    Fault(BusyWhenIdle, "B134", "writes to the kernel"),
    Fault(RunsOnce, "B135", "RuntimeError"),
    Fault(HoldsTheLoopUp, "B136", "holds the event loop up for 0.7 s"),
)

WITH_ROOT = (
    Fault(OneFamilyPublished, "B201", "it publishes"),
    Fault(RemoveIgnored, "B202", "should not be there"),
    Fault(StaleAttributes, "B203", "after a change of a peer's"),
    Fault(NotIdempotent, "B204", "it wrote"),
    Fault(FlushAtStop, "B205", "after the stop: missing"),
    Fault(DeviceRemadeAtStart, "B205", "took away"),
    Fault(ForeignObjectsRemoved, "B206", "10.66.1.0/24"),
    Fault(ErrorSwallowed, "B207", "was deleted"),
    Fault(ErrorSwallowed, "B208", "theft"),
    Fault(CancelSwallowed, "B209", "swallowed its cancellation"),
    Fault(ThreadLeftBehind, "B209", "it leaves behind: thread forgotten"),
    Fault(WrongMac, "B301", "do not arrive"),
    Fault(MtuTooBig, "B301", "and small ones do"),
    Fault(MtuTooBig, "B302", "IPv6 packets of 1500 bytes"),
    Fault(SecondFamilyForgotten, "B303", "IPv6 packets"),
    Fault(FlushAtStop, "B304", "were lost"),
    Fault(ErrorSwallowed, "B305", "do not arrive"),
)
"""Those that only a real kernel shows, or that it shows too."""
