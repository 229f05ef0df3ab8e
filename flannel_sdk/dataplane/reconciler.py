"""The reconciler: keeps the kernel as a backend declares it."""

import asyncio
import errno
import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from math import inf

from flannel_sdk.dataplane.backoff import Backoff
from flannel_sdk.dataplane.compare import everything, stale
from flannel_sdk.dataplane.describe import planned_changes, subject
from flannel_sdk.dataplane.desired import (
    Changes,
    DesiredState,
    FdbKey,
    Key,
    NeighbourKey,
    RouteKey,
    key_of,
)
from flannel_sdk.dataplane.fights import Fights
from flannel_sdk.dataplane.lowering import Lowering
from flannel_sdk.dataplane.nexthop_ids import NexthopIds
from flannel_sdk.dataplane.node import Node
from flannel_sdk.dataplane.notices import NoticeSorter
from flannel_sdk.dataplane.objects import (
    Device,
    FdbEntry,
    InterfaceAddress,
    KernelObject,
    PeerObject,
    Route,
)
from flannel_sdk.dataplane.observed import KernelState, NexthopDump
from flannel_sdk.dataplane.ownership import ROUTE_PROTOCOL, Ownership
from flannel_sdk.dataplane.pipeline import Pipeline
from flannel_sdk.dataplane.protocol import Kernel
from flannel_sdk.dataplane.refusals import refusal
from flannel_sdk.dataplane.requests import (
    AddressOperation,
    Failure,
    FdbOperation,
    NeighbourOperation,
    NexthopOperation,
    Operation,
    StrayRoute,
    StrayRouteOperation,
    Via,
)
from flannel_sdk.errors import KernelError, KernelRefused
from flannel_sdk.interfaces import PlannedChange
from flannel_sdk.model import MacAddress

logger = logging.getLogger(__name__)
_PEERS_A_CHUNK = 1024
_FIRST_CHUNK = 256
_BULK = 256
_MANY = 64
"""Keys changed by others at once, above which comparing everything is cheaper and surer."""
_FREE_AUDITS = 3
_CALM = 10.0
"""Seconds in which so many audits for that reason are made without delay."""
_NODE = "(this node)"
_AUDIT_PAUSE = 1.0
"""Seconds at least between two audits because of lost notices."""


class Reconciler:
    """Brings desired objects into the kernel and keeps them there.

    One reconciler has one kernel (a LinuxKernel of its own). Its methods may be called
    concurrently; they take turns. Whatever is cancelled half-way is compared and finished by the
    next ``update`` or by ``run``.
    """

    def __init__(
        self, kernel: Kernel, ownership: Ownership, *, audit_interval: float = 60.0
    ) -> None:
        self._kernel = kernel
        self._ownership = ownership
        self._audit_interval = audit_interval
        self._clock = _now
        self._lock = asyncio.Lock()
        self._desired = DesiredState()
        self._ids = NexthopIds(ownership.nexthop_ids())
        self._lowering = Lowering(self._ids)
        self._node = Node(kernel, ownership)
        self._failed: Backoff[Key] = Backoff(self._clock)
        self._fights = Fights(self._clock)
        self._notices = NoticeSorter(self._desired, self._lowering, ownership)
        self._listening = False
        self._complete = False
        self._node_problem: str | None = None
        self._node_backoff: Backoff[str] = Backoff(self._clock, longest=5.0)
        self._audit_at = inf
        self._audits = 0
        self._written = 0
        self._repaired: dict[str, int] = {}
        self._links: dict[str, tuple[int, bool] | None] = {}
        self._route_devices: set[str] = set()
        self._last_audit = 0.0
        self._mass_audits: list[float] = []

    # -- what a backend calls ----------------------------------------------------------------

    async def set_node(self, objects: Sequence[KernelObject]) -> None:
        """Make, adopt or remake this node's own objects now; they replace those given before.

        Devices that are not named any more are left alone. KernelRefused if it cannot be done now
        (for example because a lower device is missing), KernelUnsupported, PrivilegeError.
        """
        devices = [item for item in objects if isinstance(item, Device)]
        addresses = [item for item in objects if isinstance(item, InterfaceAddress)]
        others = [item for item in objects if not isinstance(item, Device | InterfaceAddress)]
        async with self._lock:
            self._node.set(devices, addresses)
            await self._listen()
            self._count(await self._node.ensure(), repaired=False)
            await self._find_devices()
        if others or _NODE in self._desired.peers:
            await self.update([(_NODE, others)], full=False)

    async def device_mac(self, name: str) -> MacAddress:
        """The MAC of the real device, read now. KernelRefused if there is no such device."""
        link = await self._kernel.link(name)
        if link is None or link.mac is None:
            raise KernelRefused(f"the device {name} does not exist", errno.ENODEV)
        return link.mac

    async def update(
        self,
        changed: Iterable[tuple[Hashable, Sequence[KernelObject]]],
        removed: Iterable[Hashable] = (),
        *,
        full: bool,
    ) -> None:
        """Take the objects of some peers, or with ``full`` of all, and write the differences.

        ``changed`` is consumed in chunks while the kernel works on those before. The first full
        update adopts what is there and then prunes what is ours and stale. Returns when all is
        sent; an object that fails holds up no other and is tried again by ``run``. PrivilegeError
        without CAP_NET_ADMIN; KernelError only if the kernel cannot be read at all.
        """
        async with self._lock:
            await self._listen()
            try:
                await self._update(iter(changed), removed, full)
            except BaseException:
                self._notices.audit = True
                self._notices.wake.set()
                raise

    async def run(self) -> None:
        """Repair, retry and audit until cancelled; leaves the kernel as it is."""
        async with self._lock:
            await self._listen()
        self._audit_at = self._clock() + self._audit_interval
        while True:
            await self._wait_for_work()
            async with self._lock:
                try:
                    await self._work()
                except KernelError as error:
                    self._notices.audit = True
                    if self._node_backoff.failed("kernel", str(error)):
                        logger.warning("%s; trying again", error)
                else:
                    self._node_backoff.succeeded("kernel")

    async def wait_underlay_change(self) -> None:
        """Return when a foreign link, address or route has changed since the last call.

        Several changes in a row are reported together, 100 ms after the first.
        """
        await self._notices.underlay.wait()
        await asyncio.sleep(0.1)
        self._notices.underlay.clear()

    async def plan(self) -> list[PlannedChange]:
        """What would be written if everything were compared now; writes nothing."""
        async with self._lock:
            planned = list(await self._node.plan())
            await self._find_devices()
            have = await self._read()
            puts, removals = self._compare(have)
            return planned + planned_changes(puts + removals, have, self._lowering.indexes)

    def status(self) -> Mapping[str, object]:
        """JSON-ready counts."""
        desired = self._desired.counts()
        desired["device"] = len(self._node.devices)
        desired["address"] = len(self._node.addresses)
        return {
            "desired": desired,
            "complete": self._complete,
            "pending": len(self._notices.dirty) + len(self._fights.later),
            "failed": {"count": len(self._failed.entries), "reasons": self._failed.reasons()},
            "conflicts": {
                "now": len(self._desired.waiting),
                "total": self._desired.conflicts,
            },
            "repaired": dict(self._repaired),
            "suppressed": self._fights.suppressed,
            "audits": self._audits,
            "written": self._written,
            "nexthop_objects": self._lowering.nexthops,
            "node_problem": self._node_problem,
        }

    # -- update ------------------------------------------------------------------------------

    async def _update(
        self,
        changed: Iterator[tuple[Hashable, Sequence[KernelObject]]],
        removed: Iterable[Hashable],
        full: bool,
    ) -> None:
        have = None if self._complete else await self._adopt()
        seen: set[Hashable] | None = set() if full else None
        pipeline = Pipeline(self._kernel)
        limit = _FIRST_CHUNK
        paused = False
        try:
            while (changes := self._desired.absorb(changed, limit, seen)).peers:
                limit = _PEERS_A_CHUNK
                await self._find_new_devices(changes)
                operations = self._lowering.operations(changes, have)
                if not paused and sum(len(o.rows) for o in operations) > _BULK:
                    self._kernel.listen_for_neighbours(False)
                    paused = True
                await pipeline.send(operations)
            if seen is not None:
                removed = [p for p in self._desired.peers if p not in seen and p != _NODE]
            leftover = Changes()
            for peer in removed:
                self._desired.drop(peer, leftover)
            await pipeline.send(self._lowering.operations(leftover, None))
            released = self._desired.take_released()
            if full and have is not None:
                removals = stale(self._desired, self._lowering, self._ownership, have)
            else:
                removals = self._removals(released)
            await pipeline.send(removals)
            await self._settle(pipeline)
        finally:
            if paused:
                self._kernel.listen_for_neighbours(True)
                # What others did to neighbours meanwhile was not heard.
                self._notices.audit = True
                self._notices.wake.set()
        self._complete = self._complete or full

    async def _adopt(self) -> KernelState:
        self._lowering.nexthops = await self._kernel.nexthop_objects()
        await self._find_devices()
        have = await self._read()
        self._ids.foreign |= have.nexthops.foreign
        self._ids.adopt(have.routes.rows, have.nexthops.rows)
        self._note_foreign_users(have)
        return have

    def _note_foreign_users(self, have: KernelState) -> None:
        self._ids.used_by_others = {
            route.nexthop_id for route in have.routes.strays if route.nexthop_id in self._ids.range
        }

    def _removals(self, released: Sequence[PeerObject]) -> list[Operation]:
        """Operations that remove what nobody wants any more; routes first."""
        routes: list[tuple[tuple[bytes, int], StrayRoute]] = []
        nexthops = [(obsolete, _NOWHERE) for obsolete in self._lowering.obsolete]
        entries: dict[int, list[tuple[bytes, bytes]]] = {}
        neighbours: dict[int, list[tuple[bytes, bytes]]] = {}
        self._lowering.obsolete.clear()
        for item in released:
            self._failed.succeeded(key_of(item))
            index = self._lowering.indexes.get(item.device)
            if isinstance(item, Route):
                nexthop_id = self._ids.release(item.destination) or 0
                if nexthop_id and nexthop_id not in self._ids.used_by_others:
                    nexthops.append((nexthop_id, _NOWHERE))
                stray = StrayRoute(*item.destination, ROUTE_PROTOCOL, nexthop_id=nexthop_id)
                routes.append((item.destination, stray))
            elif index is None:
                continue
            elif isinstance(item, FdbEntry):
                # The unspecified destination stands for all of that MAC.
                row = (item.mac, bytes(len(item.destination)))
                entries.setdefault(index, []).append(row)
            else:
                neighbours.setdefault(index, []).append((item.address, item.mac))
        operations: list[Operation] = [
            StrayRouteOperation(routes),
            NexthopOperation("remove", nexthops),
        ]
        operations += [FdbOperation("remove", index, rows) for index, rows in entries.items()]
        operations += [
            NeighbourOperation("remove", index, rows) for index, rows in neighbours.items()
        ]
        return [operation for operation in operations if operation.rows]

    async def _settle(self, pipeline: Pipeline, attempted: Iterable[Key] = ()) -> None:
        """Wait for the answers; keep each failure with its object for a later try."""
        failures = await pipeline.drain()
        self._written += pipeline.written
        failed: set[Key] = set()
        news: dict[str, list[str]] = {}
        names = {index: name for name, index in self._lowering.indexes.items()}
        for failure in failures:
            if failure.errno in (errno.EPERM, errno.EACCES):
                raise refusal("change the data plane", failure.errno, failure.reason)
            key = self._blame(failure, names)
            if key is None:
                self._notices.audit = True
                continue
            if key in failed:  # the route on a nexthop that was refused
                continue
            failed.add(key)
            if self._failed.failed(key, failure.reason):
                text = subject(failure.operation, failure.row, names)
                news.setdefault(failure.reason, []).append(f"{failure.operation.kind} {text}")
        if failed:
            self._notices.wake.set()  # run() sleeps until the deadlines that it knew
        for key in attempted:
            if key not in failed:
                self._failed.succeeded(key)
        for reason, subjects in news.items():
            logger.warning(
                "the kernel refused %d objects, to be tried again: %s; the first is %s",
                len(subjects), reason, subjects[0],
            )  # fmt: skip

    def _blame(self, failure: Failure, names: Mapping[int, str]) -> Key | None:
        """The key of the object behind a failed row; None if there is none any more."""
        operation = failure.operation
        if isinstance(operation, NeighbourOperation):
            address = operation.rows[failure.row][0]
            return NeighbourKey(names[operation.ifindex], address)
        if isinstance(operation, FdbOperation):
            return FdbKey(names[operation.ifindex], operation.rows[failure.row][0])
        if isinstance(operation, NexthopOperation):
            nexthop_id = operation.rows[failure.row][0]
            if operation.verb == "create" and failure.errno == errno.EEXIST:
                lost = self._ids.lose(nexthop_id)
                return RouteKey(*lost) if lost else None
            known = self._ids.routes.get(nexthop_id)
            return RouteKey(*known) if known else None
        if isinstance(operation, AddressOperation):
            return None
        return RouteKey(*operation.rows[failure.row][0])

    # -- reading -----------------------------------------------------------------------------

    async def _listen(self) -> None:
        if not self._listening:
            await self._kernel.subscribe(self._notices.take)
            self._listening = True

    def _names(self) -> set[str]:
        names = {*self._node.devices, *self._ownership.devices, *self._route_devices}
        return names | self._desired.neighbours.keys() | self._desired.fdb.keys()

    async def _find_new_devices(self, changes: Changes) -> None:
        self._route_devices |= {route.device for route in changes.routes}
        if not self._names() <= self._links.keys():
            await self._find_devices()

    async def _find_devices(self) -> bool:
        """Look up the index of every device of interest; True if one differs from before."""
        links: dict[str, tuple[int, bool] | None] = {}
        for name in self._names():
            link = await self._kernel.link(name)
            links[name] = (link.ifindex, link.up) if link else None
        differs = any(links[name] != self._links.get(name) for name in links)
        self._links = links
        self._lowering.indexes = {name: link[0] for name, link in links.items() if link}
        lowers = {device.lower for device in self._node.devices.values() if device.lower}
        self._notices.watched = {*links, *lowers}
        return differs

    async def _read(self) -> KernelState:
        indexes = self._lowering.indexes
        own = [index for name, index in indexes.items() if name in self._ownership.devices]
        neighbours = {indexes[n] for n in self._desired.neighbours if n in indexes} | {*own}
        fdb = {indexes[name] for name in self._desired.fdb if name in indexes} | {*own}
        nexthops = NexthopDump({}, frozenset())
        if self._lowering.nexthops:
            nexthops = await self._kernel.nexthops(self._ids.range)
        return KernelState(
            {index: await self._kernel.neighbours(index) for index in neighbours},
            {index: await self._kernel.fdb(index) for index in fdb},
            nexthops,
            await self._kernel.routes({*own, *(via.ifindex for via in nexthops.rows.values())}),
        )

    # -- repair ------------------------------------------------------------------------------

    async def _wait_for_work(self) -> None:
        times = [self._audit_at, self._failed.next(), self._fights.next()]
        times += [self._node_backoff.next()]
        try:
            async with asyncio.timeout_at(min(time for time in times if time is not None)):
                await self._notices.wake.wait()
        except TimeoutError:
            pass
        self._notices.wake.clear()

    async def _work(self) -> None:
        notices = self._notices
        links, node = notices.links, notices.node or bool(self._node_backoff.due())
        notices.links = notices.node = False
        if notices.overrun:
            notices.overrun = False
            self._audit_at = min(self._audit_at, self._last_audit + _AUDIT_PAUSE)
        if links or node:
            await self._repair_node()
            if await self._find_devices():
                notices.audit = True
        if len(notices.dirty) > _MANY:
            self._put_off_audit()
        if notices.audit or self._audit_at <= self._clock():
            await self._audit()
        elif len(notices.dirty) > _MANY:
            return
        else:
            await self._repair()

    def _put_off_audit(self) -> None:
        """Much was changed at once: compare everything, at once unless that goes on and on."""
        now = self._clock()
        recent = [time for time in self._mass_audits if now - time < _CALM]
        self._mass_audits = recent
        pause = _AUDIT_PAUSE if len(recent) >= _FREE_AUDITS else 0.0
        self._audit_at = min(self._audit_at, self._last_audit + pause)
        if self._audit_at <= now:
            recent.append(now)

    async def _repair_node(self) -> None:
        try:
            written = await self._node.ensure()
            self._count(written, repaired=True)
            self._notices.audit = self._notices.audit or "device" in written
        except KernelError as error:
            if self._node_backoff.failed(_NODE, str(error)):
                logger.warning("%s; trying again", error)
            self._node_problem = str(error)
        else:
            self._node_backoff.succeeded(_NODE)
            self._node_problem = None

    async def _audit(self) -> None:
        """Compare everything and write the differences."""
        notices = self._notices
        await self._repair_node()
        notices.audit = False
        notices.dirty.clear()
        notices.doubled.clear()
        self._fights.later.clear()
        self._fights.forget_old()
        await self._find_devices()
        have = await self._read()
        self._ids.foreign |= have.nexthops.foreign
        self._note_foreign_users(have)
        puts, removals = self._compare(have)
        pipeline = Pipeline(self._kernel)
        for operation in puts:
            self._count({operation.kind: len(operation.rows)}, repaired=True, written=False)
        await pipeline.send([*puts, *removals])
        await self._settle(pipeline, list(self._failed.entries))
        self._audits += 1
        self._last_audit = self._clock()
        self._audit_at = self._last_audit + self._audit_interval

    def _compare(self, have: KernelState) -> tuple[list[Operation], list[Operation]]:
        puts = self._lowering.operations(everything(self._desired), have)
        removals: list[Operation] = []
        if self._complete:
            removals = stale(self._desired, self._lowering, self._ownership, have)
        return puts, removals

    async def _repair(self) -> None:
        """Write the keys that somebody changed, or that failed, and may be written now."""
        notices = self._notices
        touched = [*notices.dirty, *self._fights.due()]
        notices.dirty.clear()
        keys = self._fights.admit(dict.fromkeys(touched))
        retried = self._failed.due()
        changes, refused = Changes(), Changes()
        for key in dict.fromkeys([*retried, *keys]):
            item = self._desired.find(key)
            if item is None:
                self._failed.succeeded(key)
                continue
            changes.add(item)
            if key in self._failed.entries:
                refused.add(item)
        doubled, notices.doubled = notices.doubled, []
        pipeline = Pipeline(self._kernel)
        await pipeline.send(self._lowering.pathfinders(refused.routes))
        await pipeline.send(self._lowering.operations(changes, None))
        await pipeline.send(
            [FdbOperation("remove", index, [(mac, to)]) for index, mac, to in doubled]
        )
        for key in keys:
            self._count({key.kind: 1}, repaired=True, written=False)
        await self._settle(pipeline, retried)

    def _count(self, numbers: Mapping[str, int], *, repaired: bool, written: bool = True) -> None:
        for kind, number in numbers.items():
            if written:
                self._written += number
            if repaired:
                self._repaired[kind] = self._repaired.get(kind, 0) + number


_NOWHERE = Via(0, None)


def _now() -> float:
    return asyncio.get_running_loop().time()
