"""Small stores with one fault each, and the requirement that has to tell."""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from flannel_sdk.errors import ConfigError, ConfigMissing, LeaseLost, OutOfSubnets, StoreUnavailable
from flannel_sdk.model import (
    ByFamily,
    IPAddress,
    Lease,
    LeaseAttrs,
    LeaseDelta,
    LeaseGone,
    LeaseHeld,
    LeaseSnapshot,
    LeaseState,
    Malformed,
    NetworkConfig,
    Prefix,
    Subnets,
    decode_entries,
    format_subnet_key,
)
from tests.conformance.small_store import (
    GARBAGE,
    Connection,
    SmallManager,
    SmallOptions,
    SmallPlugin,
)


class OtherVersion(SmallPlugin):
    contract_version = 2


@dataclass
class Thawed:
    name: str = "default"
    ttl: float = 86400.0


class ThawedOptions(SmallPlugin):
    options_type: type = Thawed


class ConnectsOnOpen(SmallPlugin):
    def open(self, options: SmallOptions) -> SmallManager:
        with socket.socket():
            return super().open(options)


class NoConfigIsWrong(SmallManager):
    def config(self) -> NetworkConfig:
        try:
            return super().config()
        except ConfigMissing:
            raise ConfigError("config", "there is none") from None


class OutsideTheNetwork(SmallManager):
    def chosen(self, config: NetworkConfig, previous: Subnets | None) -> Subnets:
        return ByFamily(Prefix.parse("10.99.1.0/24"))


class OldAttributesKept(SmallManager):
    def adopted_attrs(self, lease: Lease, attrs: LeaseAttrs) -> LeaseAttrs:
        return lease.attrs


class LeaseEachTime(SmallManager):
    def is_own(self, lease: Lease, attrs: LeaseAttrs) -> bool:
        return False


class LostRace(SmallManager):
    """Chooses, and writes without looking again."""

    async def acquire_lease(self, attrs: LeaseAttrs, previous: Subnets | None = None) -> Lease:
        await self.travel()
        free = min(
            set(_five()) - set(self.held()), key=lambda one: str(one.ipv4), default=_five()[0]
        )
        await self.travel()
        return self.put(free, attrs, 0.0)


class RaisesWhenFull(SmallManager):
    def chosen(self, config: NetworkConfig, previous: Subnets | None) -> Subnets:
        try:
            return super().chosen(config, previous)
        except OutOfSubnets as error:
            raise RuntimeError("full") from error


class PreviousIgnored(SmallManager):
    def chosen(self, config: NetworkConfig, previous: Subnets | None) -> Subnets:
        return super().chosen(config, None)


class PreviousStolen(SmallManager):
    def chosen(self, config: NetworkConfig, previous: Subnets | None) -> Subnets:
        return previous or super().chosen(config, previous)


class SameIPv4IsSameNode(SmallManager):
    def is_own(self, lease: Lease, attrs: LeaseAttrs) -> bool:
        return lease.attrs.public_ips.ipv4 == attrs.public_ips.ipv4


class HalfPublished(SmallManager):
    def put(self, subnets: Subnets, attrs: LeaseAttrs, before: float | None) -> Lease:
        lease = super().put(subnets, replace(attrs, backend_data=ByFamily()), before)
        return replace(lease, attrs=attrs)


class ReservationEnds(SmallManager):
    def put(self, subnets: Subnets, attrs: LeaseAttrs, before: float | None) -> Lease:
        return super().put(subnets, attrs, 0.0)


class OneAtATime(SmallManager):
    busy = False

    async def travel(self) -> None:
        if self.busy:
            raise StoreUnavailable("another call is being made")
        self.busy = True
        try:
            await super().travel()
        finally:
            self.busy = False


class RenewsAttributesOnly(SmallManager):
    """The end stays what it was."""

    def renewed(self, lease: Lease) -> Lease:
        renewed = super().renewed(lease)
        row = self.server.put(
            format_subnet_key(lease.subnets),
            self.server.rows[format_subnet_key(lease.subnets)].value,
            lease.expires_at,
        )
        return replace(renewed, expires_at=row.expires_at)


class RenewsExpiryOnly(SmallManager):
    def renewed(self, lease: Lease) -> Lease:
        state = self.state(lease)
        if isinstance(state, LeaseHeld):
            lease = replace(lease, attrs=state.lease.attrs)
        return super().renewed(lease)


class RenewRevives(SmallManager):
    def renewed(self, lease: Lease) -> Lease:
        return self.put(lease.subnets, lease.attrs, lease.expires_at)


class RenewOverwrites(SmallManager):
    def renewed(self, lease: Lease) -> Lease:
        if format_subnet_key(lease.subnets) not in self.server.rows:
            raise LeaseLost("it is gone")
        return self.put(lease.subnets, lease.attrs, lease.expires_at)


class ExpiryIgnored(SmallManager):
    def put(self, subnets: Subnets, attrs: LeaseAttrs, before: float | None) -> Lease:
        lease = super().put(subnets, attrs, None)
        return replace(lease, expires_at=time.time() + self.ttl)


class OwnLossNotTold(SmallManager):
    async def own_states(self, lease: Lease) -> AsyncGenerator[LeaseState, None]:
        async with aclosing(super().own_states(lease)) as states:
            async for state in states:
                if isinstance(state, LeaseHeld):
                    yield state


class OwnWatchEnds(SmallManager):
    async def own_states(self, lease: Lease) -> AsyncGenerator[LeaseState, None]:
        async with aclosing(super().own_states(lease)) as states:
            async for state in states:
                yield state
                if isinstance(state, LeaseGone):
                    return


class OthersLeaseIsHeld(SmallManager):
    def state(self, lease: Lease) -> LeaseState:
        state = super().state(lease)
        gone = format_subnet_key(lease.subnets) not in self.server.rows
        return state if gone else LeaseHeld(lease)


class SnapshotReadAsEmpty(SmallManager):
    def snapshot(self, known: int | None) -> LeaseSnapshot | LeaseDelta:
        return LeaseSnapshot((), self.server.revision)


class DeltaFirst(SmallManager):
    def snapshot(self, known: int | None) -> LeaseSnapshot | LeaseDelta:
        item = super().snapshot(known)
        assert isinstance(item, LeaseSnapshot)
        return LeaseDelta(item.leases, (), item.revision, item.malformed)


class NewLeaseNotTold(SmallManager):
    def delta(self, known: int) -> LeaseDelta | None:
        return None


class RemovalNotTold(SmallManager):
    def delta(self, known: int) -> LeaseDelta | None:
        item = super().delta(known)
        return item and replace(item, removed=())


class TypeNotCompared(SmallManager):
    """Tells a lease again where its data differs, and not its type."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]  # passed on as they come
        self.told_data: dict[Subnets, ByFamily[str]] = {}

    def delta(self, known: int) -> LeaseDelta | None:
        item = super().delta(known)
        if item is None:
            return None
        fresh = [one for one in item.changed if self.differs(one)]
        self.told_data.update((one.subnets, one.attrs.backend_data) for one in fresh)
        return replace(item, changed=fresh)

    def differs(self, lease: Lease) -> bool:
        return self.told_data.get(lease.subnets) != lease.attrs.backend_data


class IPv6NotCompared(TypeNotCompared):
    def snapshot(self, known: int | None) -> LeaseSnapshot | LeaseDelta:
        item = super().snapshot(known)
        assert isinstance(item, LeaseSnapshot)
        self.told_data.update((one.subnets, one.attrs.backend_data) for one in item.leases)
        return item

    def differs(self, lease: Lease) -> bool:
        told = self.told_data.get(lease.subnets)
        return told is None or told.ipv4 != lease.attrs.backend_data.ipv4


class MalformedHidesOthers(SmallManager):
    def snapshot(self, known: int | None) -> LeaseSnapshot | LeaseDelta:
        item = super().snapshot(known)
        assert isinstance(item, LeaseSnapshot)
        return replace(item, leases=()) if item.malformed else item


class MalformedEndsTheWatch(SmallManager):
    def told(self, malformed: list[Malformed]) -> list[Malformed]:
        if malformed:
            raise ValueError(malformed[0].reason)
        return malformed


class RepairNotTold(SmallManager):
    def delta(self, known: int) -> LeaseDelta | None:
        item = super().delta(known)
        if item is None:
            return None
        gone = [one for one in item.removed if format_subnet_key(one) != GARBAGE]
        return replace(item, removed=gone)


class WatchEndsOnReconnect(SmallManager):
    async def looks(self) -> AsyncGenerator[None, None]:
        with self.connection() as connection, suppress(ConnectionError):
            while True:
                yield
                await connection.wait()


class WatchRaisesOnReconnect(SmallManager):
    async def looks(self) -> AsyncGenerator[None, None]:
        with self.connection() as connection:
            while True:
                yield
                await connection.wait()


class GapIsADelta(SmallManager):
    def snapshot(self, known: int | None) -> LeaseSnapshot | LeaseDelta:
        item = super().snapshot(known)
        if known is None or not isinstance(item, LeaseSnapshot):
            return item
        return LeaseDelta(item.leases, (), item.revision)


class GapKeepsAttributes(SmallManager):
    """As flannel: who is known already is not compared."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]  # passed on as they come
        self.known: dict[Subnets, Lease] = {}

    def snapshot(self, known: int | None) -> LeaseSnapshot | LeaseDelta:
        item = super().snapshot(known)
        assert isinstance(item, LeaseSnapshot)
        leases = [self.known.get(one.subnets, one) for one in item.leases]
        self.known = {one.subnets: one for one in leases}
        return replace(item, leases=leases)


class CancelSwallowed(SmallManager):
    async def acquire_lease(self, attrs: LeaseAttrs, previous: Subnets | None = None) -> Lease:
        with suppress(asyncio.CancelledError):
            await self.travel()
        return self.acquired(attrs, previous)


class CancelLeavesALease(SmallManager):
    """Each call makes a lease, and looks only at its end whether there was one."""

    async def acquire_lease(self, attrs: LeaseAttrs, previous: Subnets | None = None) -> Lease:
        await self.travel()
        made = self.put(self.chosen(self.config(), previous), attrs, 0.0)
        await self.travel()
        leases, _ = decode_entries(self.server.entries())
        own = [one for one in leases if self.is_own(one, attrs) and one.subnets != made.subnets]
        if not own:
            return made
        self.server.delete(format_subnet_key(made.subnets))
        return self.put(own[0].subnets, attrs, 0.0)


class CancelHalfWrites(SmallManager):
    async def renew_lease(self, lease: Lease) -> Lease:
        key = format_subnet_key(lease.subnets)
        row = self.server.rows[key]
        self.server.put(key, row.value[:10], row.expires_at)
        await self.travel()
        self.server.put(key, row.value, row.expires_at)
        return await super().renew_lease(lease)


class WatchSwallowsCancel(SmallManager):
    async def looks(self) -> AsyncGenerator[None, None]:
        while True:
            try:
                async with aclosing(super().looks()) as looks:
                    async for _ in looks:
                        yield
            except asyncio.CancelledError:
                return


class ConnectionLeft(SmallManager):
    @contextmanager
    def connection(self) -> Iterator[Connection]:
        made = Connection()
        self.server.connections.add(made)
        yield made
        self.server.connections.discard(made)


class ConfigMissingForGood(SmallManager):
    """Once it has looked, it never looks again."""

    missing: ConfigMissing | None = None

    def config(self) -> NetworkConfig:
        try:
            if self.missing is not None:
                raise self.missing
            return super().config()
        except ConfigMissing as error:
            self.missing = error
            raise


class ConfigKept(SmallManager):
    kept: NetworkConfig | None = None

    def config(self) -> NetworkConfig:
        self.kept = self.kept or super().config()
        return self.kept


class PreviousUnchecked(SmallManager):
    def chosen(self, config: NetworkConfig, previous: Subnets | None) -> Subnets:
        return previous or super().chosen(config, previous)


class OldNetworkKept(SmallManager):
    """Adopts its lease without a look at the network that there is now."""

    def acquired(self, attrs: LeaseAttrs, previous: Subnets | None) -> Lease:
        leases, _ = decode_entries(self.server.entries())
        for lease in leases:
            if self.is_own(lease, attrs):
                return self.put(lease.subnets, attrs, lease.expires_at)
        return super().acquired(attrs, previous)


class OwnWatchWaitsForALease(SmallManager):
    async def own_states(self, lease: Lease) -> AsyncGenerator[LeaseState, None]:
        was_held = False
        async with aclosing(super().own_states(lease)) as states:
            async for state in states:
                was_held = was_held or isinstance(state, LeaseHeld)
                if was_held:
                    yield state


class OwnWatchTellsItsArgument(SmallManager):
    def state(self, lease: Lease) -> LeaseState:
        state = super().state(lease)
        return LeaseHeld(lease) if isinstance(state, LeaseHeld) else state


class OwnWatchEndsOnReconnect(SmallManager):
    async def own_states(self, lease: Lease) -> AsyncGenerator[LeaseState, None]:
        last: LeaseState | None = None
        with self.connection() as connection, suppress(ConnectionError):
            while True:
                state = self.state(lease)
                if state != last:
                    yield state
                last = state
                await connection.wait()


class LostWhileItBegins(SmallManager):
    """Takes what came between the list and the watch for listed."""

    async def all_items(self) -> AsyncGenerator[LeaseSnapshot | LeaseDelta, None]:
        known: int | None = None
        async with aclosing(self.looks()) as looks:
            async for _ in looks:
                item = self.snapshot(known) if known is None else self.delta(known)
                if known is None:
                    await self.travel()
                known = self.server.revision
                if item is not None:
                    yield item


class ItemsShared(SmallManager):
    """Tells one list, and goes on to work with it."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]  # passed on as they come
        self.told_leases: list[Lease] = []

    def snapshot(self, known: int | None) -> LeaseSnapshot | LeaseDelta:
        item = super().snapshot(known)
        assert isinstance(item, LeaseSnapshot)
        self.told_leases = list(item.leases)
        return replace(item, leases=self.told_leases)

    def delta(self, known: int) -> LeaseDelta | None:
        item = super().delta(known)
        self.told_leases += item.changed if item else ()
        return item


class CloseWaitsForReaders(SmallManager):
    async def aclose(self) -> None:
        await super().aclose()
        while self.server.connections:  # noqa: ASYNC110  # the fault
            await asyncio.sleep(0.01)


class ClosesOnce(SmallManager):
    async def aclose(self) -> None:
        if self.closing.is_closed:
            raise StoreUnavailable("it is closed")
        await super().aclose()


class WatchOutlivesClose(SmallManager):
    def watch_leases(self) -> AsyncGenerator[LeaseSnapshot | LeaseDelta, None]:
        return self.all_items()


class CloseLeavesATask(SmallManager):
    beating: "asyncio.Task[None] | None" = None

    async def acquire_lease(self, attrs: LeaseAttrs, previous: Subnets | None = None) -> Lease:
        lease = await super().acquire_lease(attrs, previous)
        self.beating = self.beating or asyncio.create_task(asyncio.sleep(60))
        return lease


class CloseRevokes(SmallManager):
    async def aclose(self) -> None:
        if not self.closing.is_closed:
            self.server.rows.clear()
        await super().aclose()


def _five() -> list[Subnets]:
    return [ByFamily(Prefix(IPAddress.parse(f"10.5.0.{4 * n}"), 30)) for n in range(1, 6)]


class Fault(NamedTuple):
    """A fault, the requirement that has to tell it, and a piece of what it has to say."""

    requirement: str
    part: type[SmallManager] | type[SmallPlugin]
    says: str

    def plugin(self) -> SmallPlugin:
        """A plugin with this fault."""
        if issubclass(self.part, SmallPlugin):
            return self.part()
        return SmallPlugin(self.part)


FAULTS = [
    Fault("S001", OtherVersion, "contract_version is 2"),
    Fault("S002", ThawedOptions, "no frozen dataclass"),
    Fault("S003", ConnectsOnOpen, "a socket"),
    Fault("S101", NoConfigIsWrong, "raised ConfigError instead of ConfigMissing"),
    Fault("S101", ConfigMissingForGood, "get_network_config raised ConfigMissing"),
    Fault("S102", ConfigKept, "the configuration says port 8473, it gives 8472"),
    Fault("S103", PreviousUnchecked, "10.99.7.0/24 is given"),
    Fault("S103", OldNetworkKept, "the network is 10.6.0.0/16 by now"),
    Fault("S110", OutsideTheNetwork, "10.99.1.0/24 is no /24 in 10.5.0.0/16"),
    Fault("S111", OldAttributesKept, "it publishes"),
    Fault("S111", LeaseEachTime, "it held"),
    Fault("S112", LostRace, "five nodes got 1 subnets"),
    Fault("S113", RaisesWhenFull, "raised RuntimeError instead of OutOfSubnets"),
    Fault("S114", PreviousIgnored, "10.5.77.0/24 is free"),
    Fault("S115", PreviousStolen, "two nodes hold"),
    Fault("S116", SameIPv4IsSameNode, "two nodes hold"),
    Fault("S117", HalfPublished, "the whole lease is not told"),
    Fault("S118", ReservationEnds, "the reservation ends, once it is acquired"),
    Fault("S119", OneAtATime, "another call is being made"),
    Fault("S120", RenewsExpiryOnly, "it publishes"),
    Fault("S121", RenewRevives, "instead of raising LeaseLost"),
    Fault("S122", RenewOverwrites, "instead of raising LeaseLost"),
    Fault("S123", ExpiryIgnored, "that the short lease has ended is not told"),
    Fault("S124", RenewsAttributesOnly, ""),
    Fault("S125", OwnLossNotTold, "the loss of the lease did not return"),
    Fault("S125", OwnWatchEnds, "that the lease is held again: the watch ended"),
    Fault("S126", OthersLeaseIsHeld, "the loss of the lease did not return"),
    Fault("S127", OwnWatchWaitsForALease, "the loss of the lease before the watch did not return"),
    Fault("S127", OwnWatchTellsItsArgument, "and the watch says"),
    Fault("S128", OwnWatchEndsOnReconnect, "after a reconnect,: the watch ended"),
    Fault("S130", SnapshotReadAsEmpty, "the first snapshot has 0 of three leases"),
    Fault("S130", DeltaFirst, "the first item is a LeaseDelta"),
    Fault("S131", NewLeaseNotTold, "each of two new leases is not told"),
    Fault("S132", RemovalNotTold, "that the lease is gone is not told"),
    Fault("S133", TypeNotCompared, "the new backend type is not told"),
    Fault("S134", IPv6NotCompared, "the new IPv6 data is not told"),
    Fault("S135", MalformedHidesOthers, "each lease beside a bad entry is not told"),
    Fault("S135", MalformedEndsTheWatch, "the watch raised ValueError"),
    Fault("S136", RepairNotTold, "that the bad entry is gone is not told"),
    Fault("S137", WatchEndsOnReconnect, "the watch ended"),
    Fault("S137", WatchRaisesOnReconnect, "the watch raised ConnectionError"),
    Fault("S138", GapIsADelta, "after a gap did not return within"),
    Fault("S138", GapKeepsAttributes, "the snapshot after a gap does not tell"),
    Fault("S139", LostWhileItBegins, "turns after the watch began is not told"),
    Fault("S139", ItemsShared, "an item that was told has changed since"),
    Fault("S140", CancelSwallowed, "swallowed its cancellation"),
    Fault("S140", CancelLeavesALease, "leases after its calls were cancelled"),
    Fault("S141", CancelHalfWrites, "renew_lease, after one that was cancelled, raised LeaseLost"),
    Fault("S142", WatchSwallowsCancel, "swallowed its cancellation"),
    Fault("S143", ConnectionLeft, "open after aclose"),
    Fault("S144", ClosesOnce, "a second aclose"),
    Fault("S144", CloseWaitsForReaders, "aclose did not return"),
    Fault("S144", WatchOutlivesClose, "watch_leases goes on after aclose"),
    Fault("S144", CloseLeavesATask, "tasks go on"),
    Fault("S144", CloseRevokes, "the lease, after aclose, is not told"),
]
