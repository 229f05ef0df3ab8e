"""A small store that is right: a server in memory, connections to it that can break, a manager."""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from flannel_sdk.closing import Closing
from flannel_sdk.errors import ConfigMissing, LeaseLost, MalformedEntry, StoreUnavailable
from flannel_sdk.model import (
    Lease,
    LeaseAttrs,
    LeaseDelta,
    LeaseGone,
    LeaseHeld,
    LeaseSnapshot,
    LeaseState,
    Malformed,
    NetworkConfig,
    Subnets,
    choose_subnets,
    compatible,
    decode_entries,
    decode_entry,
    encode_attrs,
    format_subnet_key,
    is_same_node,
    parse_subnet_key,
)
from flannel_sdk.testing.store_kit import StoreHarness

GARBAGE = "10.5.0.0-24"  # below the first subnet that is leased: no lease is ever there


class Row(NamedTuple):
    """An entry."""

    value: bytes
    expires_at: float | None
    revision: int


class Server:
    """What all managers share."""

    def __init__(self) -> None:
        self.config: str | None = None
        self.rows: dict[str, Row] = {}
        self.revision = 0
        self.floor = 0
        """History is known after this revision."""
        self.changed_at: dict[str, int] = {}
        self.connections: set[Connection] = set()

    def put(self, key: str, value: bytes, expires_at: float | None) -> Row:
        """Write an entry."""
        self._touch(key)
        self.rows[key] = row = Row(value, expires_at, self.revision)
        return row

    def delete(self, key: str) -> None:
        """Delete an entry."""
        self._touch(key)
        self.rows.pop(key, None)

    def drop_expired(self) -> None:
        """Delete what has ended."""
        for key, row in list(self.rows.items()):
            if row.expires_at is not None and row.expires_at <= time.time():
                self.delete(key)

    def entries(self) -> list[tuple[str, bytes, float | None, int]]:
        """All of them."""
        return [(key, *row) for key, row in self.rows.items()]

    def _touch(self, key: str) -> None:
        self.revision += 1
        self.changed_at[key] = self.revision
        for connection in self.connections:
            connection.news.set()


class Connection:
    """One watcher's."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.is_broken = False

    async def wait(self) -> None:
        """Return when something has changed, or may have expired; ConnectionError if broken."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await self.news.wait()
        self.news.clear()
        if self.is_broken:
            raise ConnectionError("reset by peer")


class SmallManager:
    """A SubnetManager; faults are seeded by overriding its parts."""

    def __init__(self, server: Server, ttl: float = 86400.0) -> None:
        self.name = "small:memory"
        self.server = server
        self.ttl = ttl
        self.closing = Closing()

    async def get_network_config(self) -> NetworkConfig:
        """See SubnetManager."""
        await self.travel()
        return self.config()

    async def acquire_lease(self, attrs: LeaseAttrs, previous: Subnets | None = None) -> Lease:
        """See SubnetManager."""
        await self.travel()
        lease = self.acquired(attrs, previous)
        await self.travel()
        return lease

    async def renew_lease(self, lease: Lease) -> Lease:
        """See SubnetManager."""
        await self.travel()
        renewed = self.renewed(lease)
        await self.travel()
        return renewed

    def watch_lease(self, lease: Lease) -> AsyncGenerator[LeaseState, None]:
        """See SubnetManager."""
        return self.closing.until_closed(self.own_states(lease))

    def watch_leases(self) -> AsyncGenerator[LeaseSnapshot | LeaseDelta, None]:
        """See SubnetManager."""
        return self.closing.until_closed(self.all_items())

    async def aclose(self) -> None:
        """See SubnetManager."""
        self.closing.close()

    async def travel(self) -> None:
        """To the server, or back."""
        if self.closing.is_closed:
            raise StoreUnavailable("it is closed")
        for _ in range(3):
            await asyncio.sleep(0)

    def config(self) -> NetworkConfig:
        """At the server."""
        if self.server.config is None:
            raise ConfigMissing("there is no configuration yet")
        return NetworkConfig.parse(self.server.config)

    def acquired(self, attrs: LeaseAttrs, previous: Subnets | None) -> Lease:
        """At the server, in one step."""
        self.server.drop_expired()
        config = self.config()
        leases, _ = decode_entries(self.server.entries())
        own = [one for one in leases if self.is_own(one, attrs)]
        for lease in own:
            if compatible(lease.subnets, config):
                return self.put(lease.subnets, self.adopted_attrs(lease, attrs), lease.expires_at)
        return self.put(self.chosen(config, previous), attrs, 0.0)

    def is_own(self, lease: Lease, attrs: LeaseAttrs) -> bool:
        """Whether this entry is the node's."""
        return is_same_node(lease.attrs.public_ips, attrs.public_ips)

    def adopted_attrs(self, lease: Lease, attrs: LeaseAttrs) -> LeaseAttrs:
        """What an adopted lease publishes."""
        return attrs

    def held(self) -> list[Subnets]:
        """The subnets that are taken."""
        found = []
        for key in self.server.rows:
            with suppress(MalformedEntry):
                found.append(parse_subnet_key(key))
        return found

    def chosen(self, config: NetworkConfig, previous: Subnets | None) -> Subnets:
        """A free subnet."""
        wanted = [previous] if previous else []
        return choose_subnets(config, self.held(), wanted, random.Random())

    def put(self, subnets: Subnets, attrs: LeaseAttrs, before: float | None) -> Lease:
        """Write a lease; ``before`` is None where it is a reservation."""
        expires_at = None if before is None else time.time() + self.ttl
        row = self.server.put(format_subnet_key(subnets), encode_attrs(attrs), expires_at)
        return Lease(subnets, attrs, row.expires_at, row.revision)

    def renewed(self, lease: Lease) -> Lease:
        """At the server, in one step."""
        self.server.drop_expired()
        state = self.state(lease)
        if isinstance(state, LeaseGone):
            raise LeaseLost(state.reason)
        return self.put(lease.subnets, lease.attrs, state.lease.expires_at)

    def state(self, lease: Lease) -> LeaseState:
        """What has become of a lease that was ours."""
        key = format_subnet_key(lease.subnets)
        row = self.server.rows.get(key)
        if row is None:
            return LeaseGone("it was deleted or has expired")
        try:
            found = decode_entry(key, *row)
        except MalformedEntry as error:
            return LeaseGone(str(error))
        if not is_same_node(found.attrs.public_ips, lease.attrs.public_ips):
            return LeaseGone("it is another node's")
        return LeaseHeld(found)

    async def own_states(self, lease: Lease) -> AsyncGenerator[LeaseState, None]:
        """The watch of one lease."""
        last: LeaseState | None = None
        async with aclosing(self.looks()) as looks:
            async for _ in looks:
                state = self.state(lease)
                if state != last:
                    last = state
                    yield state

    async def all_items(self) -> AsyncGenerator[LeaseSnapshot | LeaseDelta, None]:
        """The watch of all leases."""
        known: int | None = None
        async with aclosing(self.looks()) as looks:
            async for _ in looks:
                if known is None or known < self.server.floor:
                    item: LeaseSnapshot | LeaseDelta | None = self.snapshot(known)
                else:
                    item = self.delta(known)
                known = self.server.revision
                if item is not None:
                    yield item

    def snapshot(self, known: int | None) -> LeaseSnapshot | LeaseDelta:
        """The first item, and the one after a gap."""
        leases, malformed = decode_entries(self.server.entries())
        return LeaseSnapshot(leases, self.server.revision, malformed)

    def delta(self, known: int) -> LeaseDelta | None:
        """What has changed since a revision; None if nothing."""
        keys = [key for key, at in self.server.changed_at.items() if at > known]
        rows = [(key, *self.server.rows[key]) for key in keys if key in self.server.rows]
        changed, malformed = decode_entries(rows)
        gone = [key for key in keys if key not in self.server.rows]
        removed = [parse_subnet_key(key) for key in [*gone, *(one.key for one in malformed)]]
        if not (changed or removed or malformed):
            return None
        return LeaseDelta(changed, removed, self.server.revision, self.told(malformed))

    def told(self, malformed: list[Malformed]) -> list[Malformed]:
        """Which bad entries are told of."""
        return malformed

    async def looks(self) -> AsyncGenerator[None, None]:
        """Now, and whenever something may have changed."""
        while True:
            try:
                with self.connection() as connection:
                    while True:
                        self.server.drop_expired()
                        yield
                        await connection.wait()
            except ConnectionError:
                await asyncio.sleep(0)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """One that is closed at the end."""
        made = Connection()
        self.server.connections.add(made)
        try:
            yield made
        finally:
            self.server.connections.discard(made)


@dataclass(frozen=True)
class SmallOptions:
    """Its options."""

    name: str = "default"
    ttl: float = 86400.0


class SmallPlugin:
    """What an entry point would name."""

    contract_version = 1
    options_type: type = SmallOptions

    def __init__(self, manager: type[SmallManager] = SmallManager) -> None:
        self.manager = manager
        self.servers: dict[str, Server] = {}

    def open(self, options: SmallOptions) -> SmallManager:
        """See SubnetManagerPlugin."""
        return self.manager(self.servers.setdefault(options.name, Server()), options.ttl)


class SmallHarness:
    """Everything that can be done to it."""

    def __init__(self, plugin: SmallPlugin) -> None:
        self.plugin = plugin
        self.options = SmallOptions(uuid.uuid4().hex)
        self.server = plugin.servers.setdefault(self.options.name, Server())

    async def open(self, node: int = 1) -> SmallManager:
        return self.plugin.open(self.options)

    async def open_short(self, node: int, seconds: float) -> SmallManager:
        return self.plugin.open(SmallOptions(self.options.name, seconds))

    async def configure(self, document: str) -> None:
        self.server.config = document

    async def take_away(self, lease: Lease) -> None:
        self.server.delete(format_subnet_key(lease.subnets))

    async def give_away(self, lease: Lease, attrs: LeaseAttrs) -> None:
        self.server.put(format_subnet_key(lease.subnets), encode_attrs(attrs), lease.expires_at)

    async def reserve(self, subnets: Subnets, attrs: LeaseAttrs) -> None:
        self.server.put(format_subnet_key(subnets), encode_attrs(attrs), None)

    async def put_garbage(self) -> None:
        self.server.put(GARBAGE, b"no lease", None)

    async def remove_garbage(self) -> None:
        self.server.delete(GARBAGE)

    async def break_connections(self) -> None:
        for connection in self.server.connections:
            connection.is_broken = True
            connection.news.set()

    async def pause_watches(self) -> None:
        """A watch that is not read reads nothing itself."""

    async def forget_and_resume(self) -> None:
        self.server.floor = self.server.revision

    def connections(self) -> int:
        return len(self.server.connections)


@asynccontextmanager
async def small_harness(plugin: SmallPlugin) -> AsyncIterator[StoreHarness]:
    """A fresh store."""
    yield SmallHarness(plugin)
