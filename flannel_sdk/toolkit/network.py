"""KernelNetwork: the base of a Network whose data plane is kernel objects."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing

from flannel_sdk.dataplane import (
    BLACKHOLE,
    Device,
    InterfaceAddress,
    KernelObject,
    Ownership,
    PeerObject,
    Route,
)
from flannel_sdk.errors import MalformedEntry, RetryableError
from flannel_sdk.interfaces import BackendContext, Network, PeerFeed, PlannedChange
from flannel_sdk.model import ByFamily, Lease, PeerUpdate, Prefix, Subnets
from flannel_sdk.task_groups import single_error
from flannel_sdk.toolkit.refusals import Refusals
from flannel_sdk.toolkit.session import KernelSession, open_kernel

_logger = logging.getLogger(__name__)
_NO_DEVICES: ByFamily[Device] = ByFamily()


class KernelNetwork:
    """A Network that is declared: say which kernel objects belong to whom, the rest is inherited.

    A subclass sets ``backend_type`` and writes ``peer_objects``. It inherits ``run``, ``plan`` and
    ``status``: adoption of what an earlier run left, batches, retries of each object by itself,
    repair of what somebody took away, pruning after the first full update. It is used from one
    event loop; ``run`` can be called again after it was cancelled or raised, and then starts from
    what is in the kernel.
    """

    backend_type: str | None = None
    """Peers whose lease carries another type are refused and counted; None: all are served."""

    follows_underlay: bool = False
    """True if ``peer_objects`` depends on what ``look_up_underlay`` found."""

    def __init__(
        self,
        context: BackendContext,
        lease: Lease,
        ownership: Ownership,
        *,
        devices: ByFamily[Device] = _NO_DEVICES,
        mtu: int | None = None,
    ) -> None:
        """``mtu`` defaults to the smallest of the devices', or the interface's without devices."""
        self.context = context
        self.devices = devices
        self._lease = lease
        mtus = [device.mtu for _, device in devices.items_by_family()]
        self._mtu = mtu if mtu is not None else min(mtus, default=context.interface.mtu)
        self._ownership = ownership
        self._session: KernelSession | None = None
        self._peers: dict[Subnets, Lease] = {}
        self._refusals = Refusals(_logger)
        self._updating = asyncio.Lock()

    def device_objects(self) -> Sequence[KernelObject]:
        """This node's own: ``devices``, each with the base address of our subnet, /32 or /128.

        The answer must not change from call to call.
        """
        return (
            *(device for _, device in self.devices.items_by_family()),
            *(
                InterfaceAddress(device.name, Prefix(subnet.address, family.bits))
                for family, device in self.devices.items_by_family()
                if (subnet := self.lease.subnet(family)) is not None
            ),
        )

    def peer_objects(self, lease: Lease) -> Sequence[PeerObject]:
        """All objects that traffic to this peer needs, in the order in which they are added.

        Called for every peer of a big cluster in one go, so it should cost a few microseconds; it
        depends on nothing but ``lease``, and on the underlay where ``follows_underlay`` is set.
        MalformedEntry refuses this peer alone: its sentence is counted, and logged once, so it
        should not differ from peer to peer.
        """
        raise NotImplementedError

    def node_objects(self) -> Sequence[KernelObject]:
        """``device_objects``, and blackhole routes where they are asked for: all of this node."""
        return (*self.device_objects(), *self._blackholes())

    async def look_up_underlay(self, session: KernelSession, leases: Collection[Lease]) -> bool:
        """Read from the kernel what ``peer_objects`` needs to know about these peers.

        Only where ``follows_underlay``: called before an update with the leases in it, and with all
        of them whenever routes, addresses or links that are not ours changed. Returns whether
        ``peer_objects`` may now answer otherwise for a lease it has seen before.
        """
        return False

    async def take_peers(self, update: PeerUpdate) -> None:
        """Take the peers that are served, where more than kernel objects depends on them.

        Called with every update, when its objects are sent: ``changed`` holds those that are
        served, and ``removed`` also those that are refused. By default there is nothing to do.
        """

    async def carry(self, session: KernelSession) -> None:
        """What else has to go on while the network runs, for example a forwarding loop.

        Starts when the objects of this node are there, beside the reconciler, and is cancelled with
        it; what it raises ends ``run``. By default there is nothing to do.
        """

    @property
    def lease(self) -> Lease:
        """The lease that this network was registered with."""
        return self._lease

    @property
    def mtu(self) -> int:
        """Bytes: the largest inner packet that is not fragmented on the underlay."""
        return self._mtu

    async def run(self, peers: PeerFeed) -> None:
        """As ``Network.run``; never raises an ExceptionGroup."""
        self._forget_peers()
        async with open_kernel(self.context.netns, self._ownership) as session:
            await session.reconciler.set_node(self.node_objects())
            self._session = session
            try:
                with single_error():
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(session.reconciler.run())
                        tasks.create_task(self._follow_peers(session, peers))
                        tasks.create_task(self.carry(session))
                        if self.follows_underlay:
                            tasks.create_task(self._follow_underlay(session))
            finally:
                self._session = None

    async def plan(self) -> Sequence[PlannedChange]:
        """As ``SupportsPlan.plan``; RetryableError while the network is not running."""
        if self._session is None:
            raise RetryableError("the network is not running, so nothing is planned")
        return await self._session.reconciler.plan()

    async def retire(self, successor: Network) -> None:
        """As ``SupportsRetire.retire``: removes the devices that ``successor`` does not have."""
        others = successor.devices if isinstance(successor, KernelNetwork) else _NO_DEVICES
        kept = {device.name for _, device in others.items_by_family()}
        ours = {device.name: device.kind for _, device in self.devices.items_by_family()}
        gone = ours.keys() - kept
        async with open_kernel(self.context.netns, Ownership(frozenset(gone), ())) as session:
            for name in sorted(gone):
                link = await session.kernel.link(name)
                if link is not None and link.kind == ours[name]:
                    await session.kernel.remove_link(link.ifindex)

    def status(self) -> Mapping[str, object]:
        """The reconciler's counts, and ``peers``: how many are known, how many refused and why."""
        session = self._session
        counts: dict[str, object] = {}
        if session is not None:
            counts |= {**session.reconciler.status(), "netlink": session.kernel.latency()}
        counts["peers"] = {
            "known": len(self._peers),
            "refused": self._refusals.by_reason(),
        }
        return counts

    async def _follow_peers(self, session: KernelSession, peers: PeerFeed) -> None:
        async with aclosing(peers.updates()) as updates:
            async for update in updates:
                async with self._updating:
                    await self._apply(session, update)

    async def _apply(self, session: KernelSession, update: PeerUpdate) -> None:
        if update.full:
            self._forget_peers()
        else:
            self._refusals.forget(update.removed)
            self._refusals.forget(lease.subnets for lease in update.changed)
            for peer in update.removed:
                self._peers.pop(peer, None)
        self._peers.update((lease.subnets, lease) for lease in update.changed)
        if self.follows_underlay:
            await self.look_up_underlay(session, update.changed)
        await session.reconciler.update(
            self._wanted(update.changed), update.removed, full=update.full
        )
        await self.take_peers(self._refusals.split(update))

    async def _follow_underlay(self, session: KernelSession) -> None:
        while True:
            await session.reconciler.wait_underlay_change()
            async with self._updating:
                leases = self._peers.values()
                if await self.look_up_underlay(session, leases):
                    self._refusals.clear()
                    await session.reconciler.update(self._wanted(leases), full=False)

    def _blackholes(self) -> list[Route]:
        """Without them, what no bridge takes would leave by the default route, or go in circles."""
        if not self.context.blackhole_route:
            return []
        return [
            Route(subnet, BLACKHOLE, None) for _, subnet in self.lease.subnets.items_by_family()
        ]

    def _wanted(self, leases: Iterable[Lease]) -> Iterator[tuple[Subnets, Sequence[PeerObject]]]:
        """Each peer's objects; none for one that is refused."""
        served_type = self.backend_type
        peer_objects = self.peer_objects
        for lease in leases:
            try:
                if served_type is not None and lease.attrs.backend_type != served_type:
                    raise MalformedEntry(
                        f"its backend is {lease.attrs.backend_type[:40]!r}, not {served_type!r}"
                    )
                objects = peer_objects(lease)
            except MalformedEntry as error:
                self._refusals.add(lease.subnets, str(error))
                objects = ()
            except Exception as error:  # a defect that one entry shows must not cost the others
                reason = f"the backend failed on its lease ({type(error).__name__})"
                self._refusals.add(lease.subnets, reason, error=error)
                objects = ()
            yield lease.subnets, objects

    def _forget_peers(self) -> None:
        self._peers.clear()
        self._refusals.clear()
