"""The repair loop: what others took comes back, what failed is tried again, audits on a timer."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from math import inf

from flannel_sdk.dataplane.backoff import Backoff
from flannel_sdk.dataplane.bulk import Deafness, deafness
from flannel_sdk.dataplane.compare import everything, stale
from flannel_sdk.dataplane.desired import Changes, DesiredState, Key
from flannel_sdk.dataplane.fights import Fights
from flannel_sdk.dataplane.lowering import Lowering
from flannel_sdk.dataplane.node import Node
from flannel_sdk.dataplane.notices import NoticeSorter
from flannel_sdk.dataplane.observed import KernelState
from flannel_sdk.dataplane.outcomes import STALE, Outcomes
from flannel_sdk.dataplane.ownership import Ownership
from flannel_sdk.dataplane.pipeline import Pipeline
from flannel_sdk.dataplane.protocol import Kernel
from flannel_sdk.dataplane.requests import FdbOperation, Operation
from flannel_sdk.dataplane.view import KernelView
from flannel_sdk.errors import KernelError

logger = logging.getLogger(__name__)
_MANY = 64
"""Keys changed by others at once, above which comparing everything is cheaper and surer."""
_FLOOD = 512
"""The same, above which further notices of it are not even read."""
_FREE_AUDITS = 3
_FREE_NODE_REPAIRS = 5
_NODE_PAUSE = 1.0
"""Seconds at least between two repairs of devices once there were so many."""
_CALM = 10.0
"""Seconds in which so many of either are made without delay."""
_AUDIT_PAUSE = 1.0
"""Seconds at least between two audits because of lost notices."""
_LINGER = 0.05
"""Seconds in which refused objects gather to be tried again together."""
_BULK_PAUSE = 0.5
_LONGEST_BULK_PAUSE = 10.0
"""Seconds between audits that had much to write each: it does not stay, or is refused."""


class Repair:
    """Brings back what should be, from notices, failures and audits.

    Takes ``lock`` whenever it writes, and not while it reads for an audit: a comparison with what
    was true a moment ago only writes or removes again what an update has written or removed.
    """

    def __init__(
        self,
        *,
        kernel: Kernel,
        ownership: Ownership,
        desired: DesiredState,
        lowering: Lowering,
        node: Node,
        view: KernelView,
        notices: NoticeSorter,
        outcomes: Outcomes,
        clock: Callable[[], float],
        lock: asyncio.Lock,
    ) -> None:
        self._lock = lock
        self._kernel = kernel
        self._ownership = ownership
        self._desired = desired
        self._lowering = lowering
        self._node = node
        self._view = view
        self._notices = notices
        self._outcomes = outcomes
        self._clock = clock
        self._troubles: Backoff[str] = Backoff(clock, longest=5.0)
        self._last_audit = -inf
        self._bulk_audits = 0
        """How many audits in a row had much to write."""
        self._mass_audits: list[float] = []
        self._node_repairs: list[float] = []
        self.fights = Fights(clock)
        self.complete = False
        """True once the whole set of peers is known: only then is anything pruned."""
        self.node_problem: str | None = None
        self.audits = 0
        self.audit_at = inf
        self.audit_interval = inf

    async def wait_for_work(self) -> None:
        """Return when there may be something to do."""
        refused = self._outcomes.failed.next()
        times: tuple[float | None, ...] = (
            self.audit_at,
            None if refused is None else refused + _LINGER,
            self.fights.next(),
            self._troubles.next(),
        )
        if "kernel" in self._troubles.entries:
            times = times[-1:]  # whatever else is due would be refused as well
        try:
            async with asyncio.timeout_at(min(time for time in times if time is not None)):
                await self._notices.wake.wait()
        except TimeoutError:
            pass
        self._notices.wake.clear()

    async def work(self) -> None:
        """Do what is due; what the kernel refuses as a whole is tried again later."""
        try:
            await self._work()
        except KernelError as error:
            self._notices.audit = True
            if self._troubles.failed("kernel", str(error)):
                logger.warning("%s; trying again", error)
        else:
            self._troubles.succeeded("kernel")

    async def _work(self) -> None:
        notices = self._notices
        due = bool(self._troubles.due())
        looked = notices.links or notices.node or due
        notices.links = notices.node = False
        if notices.overrun:
            notices.overrun = False
            self.audit_at = min(self.audit_at, self._last_audit + _AUDIT_PAUSE)
        if notices.retry:
            notices.retry = False
            self._outcomes.failed.hasten()
        if notices.unheard:
            notices.unheard = False
            self.audit_at = min(self.audit_at, self._last_audit + self._bulk_pause())
        if STALE in self._outcomes.failed.due():
            notices.audit = True
        if looked:
            async with self._lock:
                await self._repair_node()
                if await self._view.find_devices():
                    notices.audit = True
        many = len(notices.dirty) > _MANY
        if many:
            self._plan_mass_audit()
        if notices.audit or self.audit_at <= self._clock():
            await self.audit()
            return
        async with self._lock:
            dirty = [] if many else list(notices.dirty)
            if not many:
                notices.dirty.clear()
            await self._repair(dirty)

    def _plan_mass_audit(self) -> None:
        """Much was changed at once: compare everything, at once unless that goes on and on."""
        now = self._clock()
        self._mass_audits = [time for time in self._mass_audits if now - time < _CALM]
        pause = _AUDIT_PAUSE if len(self._mass_audits) >= _FREE_AUDITS else 0.0
        self.audit_at = min(self.audit_at, self._last_audit + pause)
        if self.audit_at <= now:
            self._mass_audits.append(now)

    def _bulk_pause(self) -> float:
        """Seconds between an audit and the one that looks for what it did not hear."""
        if self._bulk_audits < 2:
            return 0.0
        return min(_BULK_PAUSE * 2.0 ** (self._bulk_audits - 2), _LONGEST_BULK_PAUSE)

    async def _repair_node(self) -> None:
        """Bring back devices and addresses; a problem is kept and tried again."""
        if self._node_is_fought_over():
            self._troubles.failed("fight", "somebody else keeps changing the devices")
            return
        try:
            written = await self._node.ensure()
        except KernelError as error:
            if self._troubles.failed("node", str(error)):
                logger.warning("%s; trying again", error)
            self.node_problem = str(error)
        else:
            self._outcomes.count("node", written)
            self._outcomes.written += sum(written.values())
            if "device" in written:
                self._notices.audit = True
            if written:
                self._node_repairs.append(self._clock())
            self._troubles.succeeded("node")
            self._troubles.succeeded("fight")
            self.node_problem = None

    def missing_seconds(self) -> float | None:
        """How long the object of ours that is missing longest has been; None if none is.

        One that somebody keeps taking away counts as missing until that has stopped.
        """
        times = [entry.since for entry in self._troubles.entries.values()]
        for since in (self._outcomes.refused_since(), self.fights.contested_since()):
            if since is not None:
                times.append(since)
        return self._clock() - min(times) if times else None

    def _node_is_fought_over(self) -> bool:
        now = self._clock()
        self._node_repairs = [time for time in self._node_repairs if now - time < _CALM]
        many = len(self._node_repairs) >= _FREE_NODE_REPAIRS
        return many and now - self._node_repairs[-1] < _NODE_PAUSE

    async def audit(self) -> None:
        """Compare everything and write the differences."""
        with deafness(self._kernel, self._notices) as deaf:
            if len(self._notices.dirty) > _FLOOD:
                deaf.begin()  # a deleted device is told in a notice for each object: no more of it
            await self._audit(deaf)
        self._bulk_audits = min(self._bulk_audits + 1, 20) if deaf.used else 0

    async def _audit(self, deaf: Deafness) -> None:
        notices = self._notices
        async with self._lock:
            await self._repair_node()
            # What is heard from here on is looked at after this audit.
            notices.audit = notices.unheard = False
            notices.dirty.clear()
            notices.doubled.clear()
            self.fights.later.clear()
            self.fights.forget_old()
            await self._view.find_devices()
        attempted = list(self._outcomes.failed.entries)
        have = await self._view.read()
        async with self._lock:
            await self._write(self._differences(have), attempted, deaf)
        self.audits += 1
        self._last_audit = self._clock()
        self.audit_at = self._last_audit + self.audit_interval

    def compare(self, have: KernelState) -> list[Operation]:
        """What to write and what to remove, in order."""
        return [operation for part in self._differences(have) for operation in part]

    def _differences(self, have: KernelState) -> Iterator[list[Operation]]:
        for part in everything(self._desired):
            yield self._lowering.operations(part, have)
        if self.complete:
            yield stale(self._desired, self._lowering, self._ownership, have)

    async def _write(
        self, differences: Iterator[list[Operation]], attempted: Iterable[Key], deaf: Deafness
    ) -> None:
        """Write each part while the next is compared."""
        pipeline = Pipeline(self._kernel)
        for operations in differences:
            for operation in operations:
                if operation.verb == "put":
                    self._outcomes.count("audit", {operation.kind: len(operation.rows)})
            deaf.expect(operations)
            await pipeline.send(operations)
        await self._outcomes.settle(pipeline, attempted)

    async def _repair(self, touched: Iterable[Key]) -> None:
        """Write the keys that somebody changed, or that failed, and may be written now."""
        failed = self._outcomes.failed
        keys = self.fights.admit(dict.fromkeys([*touched, *self.fights.due()]))
        retried = [key for key in failed.due() if key != STALE]
        changes = Changes()
        for key in dict.fromkeys([*retried, *keys]):
            item = self._desired.find(key)
            if item is None:
                failed.succeeded(key)
                continue
            changes.add(item)
        doubled = [
            FdbOperation("remove", index, [(mac, to)])
            for index, mac, to in self._notices.doubled
            if not self._is_wanted(index, mac, to)
        ]
        self._notices.doubled = []
        pipeline = Pipeline(self._kernel)
        await pipeline.send(self._lowering.pathfinders(changes.routes))
        await pipeline.send(self._lowering.operations(changes, None))
        await pipeline.send(doubled)
        for key in keys:
            self._outcomes.count("notice", {key.kind: 1})
        await self._outcomes.settle(pipeline, retried)

    def _is_wanted(self, index: int, mac: bytes, destination: bytes) -> bool:
        """True if an entry that a notice took for another's is ours by now."""
        return any(
            table.rows.get(mac) == destination
            for device, table in self._desired.fdb.items()
            if self._lowering.indexes.get(device) == index
        )
