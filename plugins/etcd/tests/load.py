"""What runs against a cluster while it fails: a writer, a recorder of events, nodes, a view."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress

from flannel_sdk_etcd.client import EtcdClient
from flannel_sdk_etcd.manager import EtcdSubnetManager
from flannel_sdk_etcd.options import EtcdOptions

from flannel_sdk.engine.keeper import LeaseKeeper
from flannel_sdk.model import (
    ByFamily,
    Family,
    IPAddress,
    LeaseAttrs,
    LeaseDelta,
    LeaseSnapshot,
    format_subnet_key,
)
from flannel_sdk.task_groups import single_error
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.control import Control, Refused, Stored
from plugins.etcd.tests.servers import Cluster

CONFIG = '{"Network":"10.0.0.0/8","Backend":{"Type":"vxlan"}}'
PATIENCE = 20.0
"""Seconds within which everything has to be well again after a fault."""


def node(number: int) -> LeaseAttrs:
    """What the node with this number publishes."""
    address = IPAddress.from_int(0xC0000200 + number, Family.IPV4)
    return LeaseAttrs(ByFamily(address), "vxlan", ByFamily('{"VNI":1}'))


def options(*urls: str, prefix: str = "/coreos.com/network", timeout: float = 5.0) -> EtcdOptions:
    """Options with these endpoints."""
    return EtcdOptions(endpoints=urls, prefix=prefix, timeout=timeout)


def put_config(cluster: Cluster, prefix: str) -> None:
    cluster.control.put(f"{prefix}/config", CONFIG)


def lease_keys(control: Control, prefix: str) -> dict[str, Stored]:
    """The entries of all leases, by the last part of their keys."""
    found = control.keys(f"{prefix}/subnets/")
    return {stored.key.rpartition("/")[2]: stored for stored in found}


def leases_in_use(control: Control) -> set[int]:
    """The etcd leases by which a key lives."""
    return {stored.lease for stored in control.keys("/")} - {0}


class Writer:
    """Puts a new key each few milliseconds; what fails may have been written or not."""

    def __init__(self, prefix: str, controls: list[Control], pause: float) -> None:
        self.written = 0
        self.failed = 0
        self.stopped = False
        self._prefix = prefix
        self._controls = controls
        self._pause = pause

    async def run(self) -> None:
        number = 0
        while not self.stopped:
            control = self._controls[number % len(self._controls)]
            number += 1
            try:
                await asyncio.to_thread(control.put, f"{self._prefix}/{number:06}", str(number))
                self.written += 1
            except (OSError, Refused):
                self.failed += 1
            await asyncio.sleep(self._pause)

    async def writes(self, count: int) -> None:
        """Wait until so many more puts are done."""
        goal = self.written + count
        await eventually(lambda: self.written >= goal, f"{count} puts", PATIENCE)

    async def fails(self) -> None:
        """Wait until another put has failed."""
        before = self.failed
        await eventually(lambda: self.failed > before, "a put that fails", PATIENCE)


@asynccontextmanager
async def writing(cluster: Cluster, prefix: str, pause: float = 0.002) -> AsyncIterator[Writer]:
    """A writer that runs until the end of the block, and is then done."""
    writer = Writer(prefix, [member.control for member in cluster.members], pause)
    with single_error():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(writer.run())
            try:
                yield writer
            finally:
                writer.stopped = True


class EventLog:
    """The events of a prefix, as the client's watch gave them."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    async def run(self, client: EtcdClient, prefix: str, start_revision: int) -> None:
        batches = client.watch(prefix.encode(), start_revision, is_prefix=True)
        async with aclosing(batches):
            async for batch in batches:
                assert batch.revision == batch.events[-1].entry.mod_revision
                for event in batch.events:
                    assert not event.removed
                    self.seen.append((event.entry.key.decode(), event.entry.mod_revision))


@asynccontextmanager
async def recording(options: EtcdOptions, prefix: str, start: int) -> AsyncIterator[EventLog]:
    """A record of the events from a revision on, until the end of the block."""
    client = EtcdClient(options)
    log = EventLog()
    try:
        async with background(log.run(client, prefix, start)):
            yield log
    finally:
        await client.aclose()


async def nothing_lost(log: EventLog, cluster: Cluster, prefix: str) -> None:
    """All that etcd holds was seen, in order and once."""
    written = [(stored.key, stored.mod_revision) for stored in cluster.control.keys(prefix)]
    in_order = sorted(written, key=lambda pair: pair[1])
    with suppress(AssertionError):  # the comparison says more
        await eventually(lambda: len(log.seen) >= len(written), "all events", PATIENCE)
    lost = [pair for pair in in_order if pair not in set(log.seen)]
    doubled = len(log.seen) - len(set(log.seen))
    assert (lost, doubled) == ([], 0), f"of {len(written)}, {len(lost)} are lost"
    assert log.seen == in_order


class LeaseView:
    """The leases as a manager's watch tells them."""

    def __init__(self) -> None:
        self.revisions: dict[str, int] = {}
        self.items: list[LeaseSnapshot | LeaseDelta] = []

    @property
    def snapshots(self) -> int:
        return sum(isinstance(item, LeaseSnapshot) for item in self.items)

    async def run(self, manager: EtcdSubnetManager) -> None:
        async with aclosing(manager.watch_leases()) as items:
            async for item in items:
                self.apply(item)

    def apply(self, item: LeaseSnapshot | LeaseDelta) -> None:
        self.items.append(item)
        if isinstance(item, LeaseSnapshot):
            self.revisions = {format_subnet_key(x.subnets): x.revision for x in item.leases}
            return
        for lease in item.changed:
            self.revisions[format_subnet_key(lease.subnets)] = lease.revision
        for subnets in item.removed:
            self.revisions.pop(format_subnet_key(subnets), None)

    async def agrees(self, cluster: Cluster, prefix: str, seconds: float = PATIENCE) -> None:
        """Wait until this is what etcd holds."""

        def same() -> bool:
            stored = lease_keys(cluster.control, prefix)
            return self.revisions == {key: entry.mod_revision for key, entry in stored.items()}

        await eventually(same, "the view is what etcd holds", seconds)


@asynccontextmanager
async def viewing(manager: EtcdSubnetManager) -> AsyncIterator[LeaseView]:
    """A view that follows the manager's watch; it has its first snapshot."""
    view = LeaseView()
    async with background(view.run(manager)):
        await eventually(lambda: view.snapshots, "a first snapshot", PATIENCE)
        yield view


@asynccontextmanager
async def background(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run ``work`` beside the block; its error is the block's; it is cancelled at the end."""
    with single_error():
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(work)
            yield
            task.cancel()


@asynccontextmanager
async def manager(
    options: EtcdOptions, lease_ttl: int = 86400
) -> AsyncGenerator[EtcdSubnetManager, None]:
    """A manager of its own, closed at the end."""
    opened = EtcdSubnetManager(options, lease_ttl=lease_ttl)
    try:
        yield opened
    finally:
        await opened.aclose()


@asynccontextmanager
async def keeping(
    opened: EtcdSubnetManager, number: int, renew_margin: float = 3600.0
) -> AsyncIterator[LeaseKeeper]:
    """A node's lease, kept as the agent keeps it until the end of the block."""
    keeper = LeaseKeeper(opened, renew_margin=renew_margin)
    await keeper.acquire_lease(node(number))
    async with background(keeper.run()):
        yield keeper


async def holds(keeper: LeaseKeeper, control: Control, prefix: str) -> None:
    """Wait until the keeper's lease is what etcd holds for it."""

    def same() -> bool:
        stored = lease_keys(control, prefix).get(format_subnet_key(keeper.lease.subnets))
        return stored is not None and stored.mod_revision == keeper.lease.revision

    await eventually(same, "the keeper's lease is in etcd", PATIENCE)


async def patiently(action: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until ``action`` neither fails nor is false."""

    def works() -> object:
        try:
            return action()
        except (OSError, Refused) as error:
            logging.getLogger(__name__).debug("%s: %s", what, error)
            return False

    await eventually(works, what, seconds)
