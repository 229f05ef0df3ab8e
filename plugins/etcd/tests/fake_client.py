"""A small etcd inside the process, and a client of it whose requests fail when told to."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from enum import Enum, auto
from typing import TypeVar

from flannel_sdk_etcd.errors import Compacted, EtcdLeaseGone, OutcomeUnknown
from flannel_sdk_etcd.records import Commit, Event, KeyValue, LeaseTime, Page, WatchBatch

from flannel_sdk.errors import StoreUnavailable

T = TypeVar("T")


class FakeEtcd:
    """Revisions, history, compaction, and etcd leases by a clock that is moved by hand."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = 0
        self.now = 0.0
        self.entries: dict[bytes, KeyValue] = {}
        self.leases: dict[int, float] = {}
        """When each etcd lease ends."""
        self._history: list[tuple[int, tuple[Event, ...]]] = []
        self._waiting: set[asyncio.Event] = set()

    def put(self, key: bytes, value: bytes, lease: int = 0) -> int:
        if lease and lease not in self.leases:
            raise EtcdLeaseGone("requested lease not found")
        revision = self.revision + 1
        created = self.entries[key].create_revision if key in self.entries else revision
        return self._commit([Event(False, KeyValue(key, value, revision, lease, created))])

    def delete(self, *keys: bytes) -> int:
        """All in one revision."""
        present = [key for key in keys if key in self.entries]
        gone = [Event(True, KeyValue(key, b"", self.revision + 1)) for key in present]
        return self._commit(gone) if gone else self.revision

    def grant(self, lease: int, ttl: int) -> None:
        assert lease > 0
        assert lease not in self.leases
        self.leases[lease] = self.now + ttl

    def revoke(self, lease: int) -> None:
        if self.leases.pop(lease, None) is not None:
            self.delete(*self.keys_of(lease))

    def keys_of(self, lease: int) -> list[bytes]:
        return [key for key, entry in self.entries.items() if entry.lease == lease]

    def advance(self, seconds: float) -> None:
        """Move the clock; what ends by then ends."""
        self.now += seconds
        for lease in [lease for lease, end in self.leases.items() if end <= self.now]:
            self.revoke(lease)

    def compact(self) -> None:
        self.compacted = self.revision

    def state_at(self, revision: int) -> dict[bytes, KeyValue]:
        if revision < self.compacted:
            raise Compacted("the revision has been compacted", self.compacted)
        entries: dict[bytes, KeyValue] = {}
        for number, events in self._history:
            if number <= revision:
                _apply(entries, events)
        return entries

    def events_since(self, revision: int) -> list[Event]:
        """All events from ``revision`` on."""
        return [event for number, events in self._history if number >= revision for event in events]

    async def change(self) -> None:
        """Return at the next change or ``wake``."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.discard(event)

    def wake(self) -> None:
        for event in self._waiting:
            event.set()

    def _commit(self, events: Iterable[Event]) -> int:
        self.revision += 1
        self._history.append((self.revision, tuple(events)))
        _apply(self.entries, self._history[-1][1])
        self.wake()
        return self.revision


def _apply(entries: dict[bytes, KeyValue], events: Iterable[Event]) -> None:
    for removed, entry in events:
        if removed:
            entries.pop(entry.key, None)
        else:
            entries[entry.key] = entry


class Fault(Enum):
    """What happens to a request."""

    FAIL = auto()
    """It is certainly not sent."""
    LOST = auto()
    """It never arrives, and nobody knows."""
    UNANSWERED = auto()
    """It is carried out, and nobody knows."""
    LATE = auto()
    """Nobody knows, and it is carried out after the request that follows."""


class FakeClient:
    """A ``StoreClient`` of a ``FakeEtcd``. Each request has two awaits: on its way, and back."""

    def __init__(self, etcd: FakeEtcd, page: int | None = None) -> None:
        self.name = "etcd:fake"
        self.etcd = etcd
        self.requests: list[str] = []
        """What was asked so far, in order."""
        self.faults: dict[int, Fault] = {}
        """By number of request, from 0."""
        self.before: dict[int, Callable[[], object]] = {}
        """What happens elsewhere before a request is carried out; by its number."""
        self.after: dict[int, Callable[[], object]] = {}
        """.. and when it was, and its answer is on its way."""
        self.is_down = False
        self.hangs_from: int | None = None
        """The first request that is never answered, and nor is any later one."""
        self._page = page
        self._late: list[Callable[[], object]] = []
        self._drops = 0
        self._closed = False

    def last_heard(self) -> float | None:
        return None if self.is_down else time.monotonic()

    async def get(self, key: bytes) -> tuple[KeyValue | None, int]:
        return await self._ask("get", lambda: (self.etcd.entries.get(key), self.etcd.revision))

    async def list(
        self,
        prefix: bytes,
        page: int = 10_000,
        *,
        revision: int = 0,
        min_mod_revision: int = 0,
    ) -> AsyncGenerator[Page, None]:
        after = b""
        while True:

            def read(at: int = revision, after: bytes = after) -> tuple[list[KeyValue], int]:
                state = self.etcd.state_at(at or self.etcd.revision)
                found = [
                    entry
                    for key, entry in sorted(state.items())
                    if key.startswith(prefix)
                    and key > after
                    and entry.mod_revision >= min_mod_revision
                ]
                return found, at or self.etcd.revision

            found, revision = await self._ask("list", read)
            entries = found[: self._page or page]
            yield Page(entries, revision, time.monotonic())
            if len(entries) == len(found):
                return
            after = entries[-1].key

    async def put_if(self, key: bytes, expected: int, value: bytes, lease: int = 0) -> Commit:
        def swap() -> Commit:
            found = self.etcd.entries.get(key)
            if (found.mod_revision if found else 0) != expected:
                return Commit(False, self.etcd.revision, found)
            return Commit(True, self.etcd.put(key, value, lease), None)

        return await self._ask("put_if", swap, is_write=True)

    async def delete_if(self, key: bytes, expected: int) -> Commit:
        def remove() -> Commit:
            found = self.etcd.entries.get(key)
            if found is None or found.mod_revision != expected:
                return Commit(False, self.etcd.revision, found)
            return Commit(True, self.etcd.delete(key), None)

        return await self._ask("delete_if", remove, is_write=True)

    async def put(self, key: bytes, value: bytes) -> int:
        return await self._ask("put", lambda: self.etcd.put(key, value), is_write=True)

    async def grant_lease(self, ttl: int, lease: int) -> int:
        await self._ask("grant", lambda: self.etcd.grant(lease, ttl), is_write=True)
        return lease

    async def revoke_lease(self, lease: int) -> None:
        await self._ask("revoke", lambda: self.etcd.revoke(lease), is_write=True)

    async def lease_time(self, lease: int) -> LeaseTime | None:
        def look() -> LeaseTime | None:
            end = self.etcd.leases.get(lease)
            if end is None:
                return None
            return LeaseTime(int(end - self.etcd.now), self.etcd.keys_of(lease))

        return await self._ask("lease_time", look)

    async def watch(
        self, key: bytes, start_revision: int, *, is_prefix: bool = False
    ) -> AsyncGenerator[WatchBatch, None]:
        drops: int | None = None
        while not self._closed:
            if drops != self._drops:
                drops = self._drops
                if start_revision < self.etcd.compacted:
                    raise Compacted("the history has been compacted", self.etcd.compacted)
            events = [
                event
                for event in self.etcd.events_since(start_revision)
                if event.entry.key == key or (is_prefix and event.entry.key.startswith(key))
            ]
            start_revision = self.etcd.revision + 1
            if events:
                yield WatchBatch(events, events[-1].entry.mod_revision, time.monotonic())
            else:
                await self.etcd.change()

    async def aclose(self) -> None:
        self._closed = True
        self.etcd.wake()

    def drop_watches(self) -> None:
        """Let the watches connect again."""
        self._drops += 1
        self.etcd.wake()

    def land_late(self) -> None:
        """Carry out what is still under way; what etcd refuses is refused."""
        late, self._late = self._late, []
        for apply in late:
            try:
                apply()
            except StoreUnavailable:
                continue

    async def _ask(self, name: str, apply: Callable[[], T], *, is_write: bool = False) -> T:
        number = len(self.requests)
        self.requests.append(name)
        self.before.get(number, int)()
        await asyncio.sleep(0)
        if self.hangs_from is not None and number >= self.hangs_from:
            await asyncio.Event().wait()
        if self._closed or self.is_down:
            raise StoreUnavailable(f"{self.name} is {'closed' if self._closed else 'down'}")
        fault = self.faults.get(number)
        unknown = OutcomeUnknown if is_write else StoreUnavailable
        if fault is Fault.FAIL:
            raise StoreUnavailable(f"{self.name} refused the connection")
        if fault in {Fault.LOST, Fault.LATE}:
            if fault is Fault.LATE and is_write:
                self._late.append(apply)
            raise unknown(f"{self.name} did not answer")
        result = apply()
        self.land_late()
        self.after.get(number, int)()
        if fault is Fault.UNANSWERED:
            raise unknown(f"{self.name} did not answer")
        await asyncio.sleep(0)
        return result
