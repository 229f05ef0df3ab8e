"""The embedded stores pass the store kit, with everything that their author can do to them."""

import sqlite3
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import ClassVar

import pytest

from flannel_sdk.model import Lease, LeaseAttrs, Subnets, encode_attrs, format_subnet_key
from flannel_sdk.stores import memory, sqlite
from flannel_sdk.stores.manager import EmbeddedSubnetManager
from flannel_sdk.stores.memory import MemoryTable
from flannel_sdk.stores.table import Writer
from flannel_sdk.testing import SubnetManagerConformance
from flannel_sdk.testing.store_kit import CanBreak, CanCount, OpenHarness, StoreHarness

pytestmark = pytest.mark.slow
GARBAGE = "10.5.0.0-24"  # below the first subnet that is leased: no lease is ever there


class EmbeddedHarness:
    """Everything but connections, which these stores do not have."""

    def open_for(self, seconds: float) -> EmbeddedSubnetManager:
        raise NotImplementedError

    async def open(self, node: int = 1) -> EmbeddedSubnetManager:
        return self.open_for(86400.0)

    async def open_short(self, node: int, seconds: float) -> EmbeddedSubnetManager:
        return self.open_for(seconds)

    async def configure(self, document: str) -> None:
        manager = self.open_for(1.0)
        await manager.put_network_config(document)
        await manager.aclose()

    async def take_away(self, lease: Lease) -> None:
        await self._delete(format_subnet_key(lease.subnets))

    async def give_away(self, lease: Lease, attrs: LeaseAttrs) -> None:
        key = format_subnet_key(lease.subnets)
        await self._put(key, encode_attrs(attrs), lease.expires_at)

    async def reserve(self, subnets: Subnets, attrs: LeaseAttrs) -> None:
        await self._put(format_subnet_key(subnets), encode_attrs(attrs), None)

    async def put_garbage(self) -> None:
        await self._put(GARBAGE, b"\xffno lease", None)

    async def remove_garbage(self) -> None:
        await self._delete(GARBAGE)

    async def pause_watches(self) -> None:
        """A watch that is not read reads nothing itself."""

    async def _put(self, key: str, value: bytes, expires_at: float | None) -> None:
        def work(table: Writer) -> None:
            table.put(key, value, expires_at)

        manager = self.open_for(1.0)
        await manager.storage.write(work)
        await manager.aclose()

    async def _delete(self, key: str) -> None:
        manager = self.open_for(1.0)
        await manager.storage.write(lambda table: table.delete(key))
        await manager.aclose()


class MemoryHarness(EmbeddedHarness):
    def __init__(self) -> None:
        self.name = uuid.uuid4().hex

    def open_for(self, seconds: float) -> EmbeddedSubnetManager:
        return memory.plugin.open(memory.MemoryOptions(self.name, seconds))

    async def forget_and_resume(self) -> None:
        def forget(table: Writer) -> None:
            assert isinstance(table, MemoryTable)
            table._log.clear()
            table._log_start = table.revision()

        manager = self.open_for(1.0)
        await manager.storage.write(forget)
        await manager.aclose()


class SqliteHarness(EmbeddedHarness):
    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "net.db")

    def open_for(self, seconds: float) -> EmbeddedSubnetManager:
        return sqlite.plugin.open(sqlite.SqliteOptions(self.path, seconds))

    async def forget_and_resume(self) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("DELETE FROM changes")


WITHOUT: Mapping[type, str] = {
    CanBreak: "it has no connection that could break",
    CanCount: "it has no connection that could be counted",
}


class TestMemory(SubnetManagerConformance):
    subnet_manager = "memory"
    options: ClassVar[Mapping[str, str]] = {"name": "{unique}"}
    without = WITHOUT

    @pytest.fixture
    def open_harness(self) -> OpenHarness:
        @asynccontextmanager
        async def opened() -> AsyncIterator[StoreHarness]:
            yield MemoryHarness()

        return opened


class TestSqlite(SubnetManagerConformance):
    subnet_manager = "sqlite"
    options: ClassVar[Mapping[str, str]] = {"path": "/nonexistent/net.db"}
    without = WITHOUT

    @pytest.fixture
    def open_harness(self, tmp_path: Path) -> OpenHarness:
        @asynccontextmanager
        async def opened() -> AsyncIterator[StoreHarness]:
            yield SqliteHarness(tmp_path)

        return opened
