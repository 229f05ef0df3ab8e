"""The ``memory`` store: networks that live as long as this process, shared by name."""

import copy
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from flannel_sdk.errors import ConfigError, StoreUnavailable
from flannel_sdk.interfaces import CONTRACT_VERSION
from flannel_sdk.stores.manager import EmbeddedSubnetManager
from flannel_sdk.stores.table import USUAL_START, Changes, Reader, Row, Wakeups, Writer
from flannel_sdk.stores.wakeups import EventWakeups

T = TypeVar("T")

_LOG_LENGTH = 4096
"""Changes that a watcher may be behind before it gets a snapshot."""


class MemoryTable:
    """A table in dictionaries; a transaction works on a copy that then takes its place."""

    def __init__(self) -> None:
        self._epoch = os.urandom(8).hex()
        self._revision = 0
        self._config: str | None = None
        self._rows: dict[str, Row] = {}
        self._log: dict[str, int] = {}
        """Revision of each key's last change, oldest first."""
        self._log_start = 0
        """The log is complete after this revision."""

    def branch(self) -> "MemoryTable":
        """A table that can change without this one."""
        table = copy.copy(self)
        table._rows = self._rows.copy()
        table._log = self._log.copy()
        return table

    def epoch(self) -> str:
        """See Reader."""
        return self._epoch

    def revision(self) -> int:
        """See Reader."""
        return self._revision

    def config(self) -> str | None:
        """See Reader."""
        return self._config

    def rows(self) -> Sequence[tuple[str, bytes, float | None, int]]:
        """See Reader."""
        return sorted(self._rows.values())

    def row(self, key: str) -> Row | None:
        """See Reader."""
        return self._rows.get(key)

    def mentioning(self, text: str) -> Sequence[tuple[str, bytes, float | None, int]]:
        """See Reader."""
        return [row for row in self.rows() if text.encode() in row[1]]

    def oddly_spelled(self) -> Sequence[tuple[str, bytes, float | None, int]]:
        """See Reader."""
        at = len(USUAL_START)
        return [
            row
            for row in self.rows()
            if not row[1].startswith(USUAL_START)
            or not row[1][at : at + 1].isdigit()
            or b"\\" in row[1]
        ]

    def all_keys(self) -> Sequence[str]:
        """See Reader."""
        return list(self._rows)

    def changed_since(self, revision: int) -> Changes | None:
        """See Reader."""
        if not self._log_start <= revision <= self._revision:
            return None
        keys: list[str] = []
        for key, changed in reversed(self._log.items()):
            if changed <= revision:
                break
            keys.append(key)
        return Changes(keys[::-1], self._revision)

    def next_expiry(self) -> float | None:
        """See Reader."""
        times = [row.expires_at for row in self._rows.values() if row.expires_at is not None]
        return min(times, default=None)

    def put(self, key: str, value: bytes, expires_at: float | None) -> Row:
        """See Writer."""
        self._changed(key)
        self._rows[key] = row = Row(key, value, expires_at, self._revision)
        return row

    def delete(self, key: str) -> None:
        """See Writer."""
        if self._rows.pop(key, None) is not None:
            self._changed(key)

    def delete_expired(self, now: float) -> None:
        """See Writer."""
        for row in list(self._rows.values()):
            if row.expires_at is not None and row.expires_at <= now:
                self.delete(row.key)

    def put_config(self, document: str) -> None:
        """See Writer."""
        self._revision += 1
        self._config = document

    def _changed(self, key: str) -> None:
        self._revision += 1
        self._log.pop(key, None)
        self._log[key] = self._revision
        if len(self._log) > _LOG_LENGTH:
            self._log_start = self._log.pop(next(iter(self._log)))


class MemoryNetwork:
    """One table with those who watch it; used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table = MemoryTable()
        self._watches: set[EventWakeups] = set()

    def read(self, work: Callable[[Reader], T]) -> T:
        """Run ``work`` on the table as it is; a later change does not touch it."""
        return work(self._table)

    def write(self, work: Callable[[Writer], T]) -> T:
        """Run ``work`` on a copy that replaces the table if it returns."""
        with self._lock:
            table = self._table.branch()
            result = work(table)
            changed = table.revision() != self._table.revision()
            self._table = table
            watches = list(self._watches) if changed else []
        for watch in watches:
            watch.wake()
        return result

    def add(self, watch: EventWakeups) -> None:
        """Wake ``watch`` at each change."""
        with self._lock:
            self._watches.add(watch)

    def discard(self, watch: EventWakeups) -> None:
        """Wake ``watch`` no more."""
        with self._lock:
            self._watches.discard(watch)


class MemoryStorage:
    """Storage of one manager on a network that it may share."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self._watches: set[EventWakeups] = set()
        self._closed = False

    async def read(self, work: Callable[[Reader], T]) -> T:
        """See Storage."""
        self._refuse_closed()
        return self._network.read(work)

    async def write(self, work: Callable[[Writer], T]) -> T:
        """See Storage."""
        self._refuse_closed()
        return self._network.write(work)

    async def subscribe(self) -> Wakeups:
        """See Storage."""
        self._refuse_closed()
        watch = EventWakeups(self._unsubscribe)
        self._network.add(watch)
        self._watches.add(watch)
        return watch

    async def aclose(self) -> None:
        """See Storage."""
        self._closed = True
        for watch in self._watches:
            watch.wake()

    def _unsubscribe(self, watch: EventWakeups) -> None:
        self._network.discard(watch)
        self._watches.discard(watch)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreUnavailable("The memory store is closed.")


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """Options of the ``memory`` store."""

    name: str = field(
        default="default",
        metadata={"help": "Managers with the same name share one network.", "metavar": "NAME"},
    )
    ttl: float = field(
        default=86400.0,
        metadata={"help": "Seconds until a lease that is not renewed ends.", "metavar": "SECONDS"},
    )


class MemoryPlugin:
    """What the entry point names."""

    contract_version = CONTRACT_VERSION
    options_type: type = MemoryOptions

    def __init__(self) -> None:
        self._networks: dict[str, MemoryNetwork] = {}
        self._lock = threading.Lock()

    def open(self, options: MemoryOptions) -> EmbeddedSubnetManager:
        """See SubnetManagerPlugin."""
        if not options.ttl > 0:
            raise ConfigError("ttl", f"The option ttl is {options.ttl} and has to be above 0.")
        with self._lock:
            network = self._networks.setdefault(options.name, MemoryNetwork())
        return EmbeddedSubnetManager(f"memory:{options.name}", MemoryStorage(network), options.ttl)


plugin = MemoryPlugin()
