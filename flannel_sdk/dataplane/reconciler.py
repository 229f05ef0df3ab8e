"""The reconciler: keeps the kernel as a backend declares it."""

import asyncio
import errno
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from flannel_sdk.dataplane.bulk import deafness
from flannel_sdk.dataplane.compare import stale
from flannel_sdk.dataplane.describe import planned_changes
from flannel_sdk.dataplane.desired import Changes, DesiredState
from flannel_sdk.dataplane.lowering import Lowering
from flannel_sdk.dataplane.node import Node
from flannel_sdk.dataplane.notices import NoticeSorter
from flannel_sdk.dataplane.objects import Device, InterfaceAddress, KernelObject, Route
from flannel_sdk.dataplane.outcomes import Outcomes
from flannel_sdk.dataplane.ownership import Ownership
from flannel_sdk.dataplane.pipeline import Pipeline
from flannel_sdk.dataplane.protocol import Kernel
from flannel_sdk.dataplane.removal import removals
from flannel_sdk.dataplane.repair import Repair
from flannel_sdk.dataplane.view import KernelView
from flannel_sdk.errors import KernelRefused
from flannel_sdk.interfaces import PlannedChange
from flannel_sdk.model import MacAddress

_FIRST_CHUNK = 256
"""Peers: few at first, so that the kernel has something to do soon."""
_CHUNK = 1024
_NODE = "(this node)"


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
        self._lock = asyncio.Lock()
        self._desired = desired = DesiredState()
        self._lowering = lowering = Lowering()
        self._node = node = Node(kernel, ownership)
        self._notices = notices = NoticeSorter(desired, lowering, ownership)
        self._outcomes = outcomes = Outcomes(lowering, notices, _now)
        self._view = view = KernelView(
            kernel=kernel, ownership=ownership, desired=desired, lowering=lowering, node=node,
            notices=notices,
        )  # fmt: skip
        self._repair = Repair(
            kernel=kernel, ownership=ownership, desired=desired, lowering=lowering, node=node,
            view=view, notices=notices, outcomes=outcomes, clock=_now, lock=self._lock,
        )  # fmt: skip
        self._unsure = False
        """True if an update broke off: what the kernel holds of it is not known."""

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
            await self._view.listen()
            self._outcomes.written += sum((await self._node.ensure()).values())
            moved = await self._view.find_devices() and bool(self._desired.peers)
        if moved:
            await self._repair.audit()
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
            await self._view.listen()
            again, self._unsure = self._unsure, True
            try:
                await self._update(iter(changed), removed, full)
            except BaseException:
                self._notices.audit = True
                self._notices.wake.set()
                raise
            self._unsure = again
        if again:
            await self._repair.audit()
            self._unsure = False

    async def audit(self) -> None:
        """Compare everything now and write the differences; ``run`` does it now and then."""
        async with self._lock:
            await self._view.listen()
        await self._repair.audit()

    async def run(self) -> None:
        """Repair, retry and audit until cancelled; leaves the kernel as it is.

        Raises nothing but PrivilegeError: whatever else the kernel refuses is tried again.
        """
        async with self._lock:
            await self._view.listen()
        self._repair.audit_interval = self._audit_interval
        self._repair.audit_at = _now() + self._audit_interval
        while True:
            await self._repair.wait_for_work()
            await self._repair.work()

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
            await self._view.find_devices()
            have = await self._view.read()
            operations = self._repair.compare(have)
            return planned + planned_changes(operations, have, self._lowering.indexes)

    def status(self) -> Mapping[str, object]:
        """JSON-ready counts."""
        desired = self._desired.counts()
        desired["device"] = len(self._node.devices)
        desired["address"] = len(self._node.addresses)
        return {
            "desired": desired,
            "complete": self._repair.complete,
            "pending": len(self._notices.dirty) + len(self._repair.fights.later),
            "failed": {
                "count": len(self._outcomes.failed.entries),
                "reasons": self._outcomes.failed.reasons(),
            },
            "failed_kinds": self._outcomes.failed_kinds(),
            "conflicts": {"now": len(self._desired.waiting), "total": self._desired.conflicts},
            "repaired": self._outcomes.repaired(),
            "repaired_by_cause": self._outcomes.repaired_by_cause(),
            "missing_seconds": self._repair.missing_seconds(),
            "suppressed": self._repair.fights.suppressed,
            "audits": self._repair.audits,
            "written": self._outcomes.written,
            "absent_devices": self._view.absent_devices(),
            "node_problem": self._repair.node_problem,
        }

    async def _update(
        self,
        changed: Iterator[tuple[Hashable, Sequence[KernelObject]]],
        removed: Iterable[Hashable],
        full: bool,
    ) -> None:
        have = None if self._repair.complete else await self._view.adopt()
        desired, lowering = self._desired, self._lowering
        seen: set[Hashable] | None = set() if full else None
        pipeline = Pipeline(self._kernel)
        limit = _FIRST_CHUNK
        with deafness(self._kernel, self._notices) as deaf:
            while (changes := desired.absorb(changed, limit, seen)).peers:
                limit = _CHUNK
                await self._view.find_new_devices(changes)
                operations = lowering.operations(changes, have)
                deaf.expect(operations)
                await pipeline.send(operations)
            if seen is not None:
                removed = [p for p in desired.peers if p not in seen and p != _NODE]
            leftover = Changes()
            for peer in removed:
                desired.drop(peer, leftover)
            await pipeline.send(lowering.operations(leftover, None))
            released = desired.take_released()
            if full and have is not None:
                gone = stale(desired, lowering, self._ownership, have)
            else:
                gone = removals(released, lowering)
            await pipeline.send(gone)
            kept = (
                desired.routes.rows.get(i.destination) for i in released if isinstance(i, Route)
            )
            await pipeline.send(lowering.rewritten(route for route in kept if route is not None))
            await self._outcomes.settle(pipeline)
        self._repair.complete = self._repair.complete or full


def _now() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # ``status`` may be asked from another thread; the loop's clock is this
        return time.monotonic()
