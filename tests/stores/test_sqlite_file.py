"""The store file: what it holds, how it comes to be, and every way in which it can be unusable."""

import asyncio
import contextlib
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from flannel_sdk.errors import (
    ConfigError,
    ConfigMissing,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
)
from flannel_sdk.model import LeaseDelta, LeaseSnapshot, encode_attrs, format_subnet_key
from flannel_sdk.stores.manager import EmbeddedSubnetManager
from flannel_sdk.stores.sqlite import SqliteOptions, plugin
from tests.stores.nodes import IPV4, node, subnets, watching


@pytest.fixture
def kind() -> str:
    return "sqlite"


def exists(path: Path | str) -> bool:
    return os.path.exists(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.db"


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[EmbeddedSubnetManager, None]:
    store = plugin.open(SqliteOptions(str(path)))
    try:
        yield store
    finally:
        await store.aclose()


async def test_entries_are_flannels_byte_for_byte(path: Path) -> None:
    async with opened(path) as store:
        await store.put_network_config(IPV4)
        lease = await store.acquire_lease(node(1))
        assert store.name == f"sqlite:{path}"
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT key, value, expires, revision FROM leases").fetchall()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT document FROM config").fetchall() == [(IPV4,)]
    assert rows == [
        (
            format_subnet_key(lease.subnets),
            (
                b'{"PublicIP":"192.168.0.1","PublicIPv6":null,"BackendType":"vxlan",'
                b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
            ),
            lease.expires_at,
            lease.revision,
        )
    ]


async def test_plain_sql_of_another_program_is_seen(path: Path) -> None:
    async with opened(path) as store:
        await store.put_network_config(IPV4)
        async with watching(store) as items, asyncio.timeout(10):
            assert isinstance(await anext(items), LeaseSnapshot)
            with closing(sqlite3.connect(path)) as other, other:
                other.executemany(
                    "INSERT INTO leases (key, value, expires) VALUES (?, ?, ?)",
                    [
                        ("10.3.1.0-24", encode_attrs(node(1)), time.time() + 60),
                        ("10.3.2.0-24", encode_attrs(node(2)).decode(), None),
                    ],
                )
            added = await anext(items)
            assert isinstance(added, LeaseDelta)
            assert [lease.attrs for lease in added.changed] == [node(1), node(2)]
            assert [lease.revision for lease in added.changed] == sorted(
                {lease.revision for lease in added.changed}
            )
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("DELETE FROM leases WHERE key = '10.3.1.0-24'")
                other.execute("UPDATE leases SET expires = 9e9")
            changed = await anext(items)
            assert isinstance(changed, LeaseDelta)
            assert list(changed.removed) == [subnets("10.3.1.0/24")]
            assert [lease.expires_at for lease in changed.changed] == [9e9]


async def test_a_file_is_made_by_the_first_write_and_not_by_a_look(path: Path) -> None:
    deep = path.parent / "a" / "b" / "net.db"
    async with opened(deep) as store:
        with pytest.raises(ConfigMissing, match="config put"):
            await store.get_network_config()
        assert not exists(deep.parent.parent)
        await store.put_network_config(IPV4)
    assert os.listdir(deep.parent) == ["net.db"]


async def test_what_a_deleted_store_left_does_not_come_back(path: Path) -> None:
    async with opened(path) as store:
        await store.put_network_config(IPV4)
        os.unlink(path)
        os.symlink("what a killed process left", f"{path}.new")
        assert exists(f"{path}-wal")
    async with opened(path) as store:
        with pytest.raises(ConfigMissing):
            await store.get_network_config()
        await store.put_network_config(IPV4)
        await store.acquire_lease(node(1))


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE leases (key TEXT)")


def later_layout(path: Path) -> None:
    asyncio.run(fill(path))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")


def damaged(path: Path) -> None:
    asyncio.run(fill(path))
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xa5" * (path.stat().st_size - 100))


def tableless(path: Path) -> None:
    asyncio.run(fill(path))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE leases")


async def fill(path: Path) -> None:
    async with opened(path) as store:
        await store.put_network_config(IPV4)
        await store.acquire_lease(node(1))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"not a database, but long enough to look at" * 50),
        lambda path: path.write_bytes(b""),
        foreign,
        later_layout,
        damaged,
        tableless,
    ],
    ids=["text", "empty", "foreign", "later layout", "damaged", "no table"],
)
def test_a_file_that_is_no_store_is_said_and_left_alone(
    path: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(path)
    before = path.read_bytes()

    async def use() -> None:
        async with opened(path) as store:
            for ask in (
                store.put_network_config(IPV4),
                store.acquire_lease(node(2)),
                anext(store.watch_leases()),
            ):
                with pytest.raises(StoreCorrupt) as caught:
                    await ask
                sentence = str(caught.value)
                assert str(path) in sentence
                assert "left as it is" in sentence
                assert "\n" not in sentence

    asyncio.run(use())
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", ["", "a file/net.db"])
async def test_a_place_without_a_file_is_unavailable(tmp_path: Path, place: str) -> None:
    (tmp_path / "a file").write_text("x")
    async with opened(tmp_path / place) as store:
        with pytest.raises(StoreUnavailable, match=str(tmp_path)):
            await store.put_network_config(IPV4)


@pytest.mark.parametrize("path_option", ["", "a\0b"])
def test_a_wrong_path_is_refused(path_option: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plugin.open(SqliteOptions(path_option))
    assert caught.value.key == "path"


async def test_names_that_mean_something_in_a_uri(tmp_path: Path) -> None:
    path = tmp_path / "odd ?mode=memory#%20.db"
    await fill(path)
    assert exists(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights")
def test_a_store_that_is_not_writable_is_unavailable(tmp_path: Path) -> None:
    path = Path("/tmp") / f"flannel-sdk-test-{os.getpid()}" / "net.db"
    path.parent.mkdir(mode=0o755)
    try:
        asyncio.run(fill(path))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresuid(65534, 65534, 65534)
                status = 0 if asyncio.run(_is_refused(path)) else 1
            finally:
                os._exit(status)
        _, result = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(result) == 0
    finally:
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()


async def _is_refused(path: Path) -> bool:
    async with opened(path) as store:
        try:
            await store.acquire_lease(node(2))
        except StoreUnavailable as error:
            return str(path) in str(error) and "writable" in str(error)
    return False


async def test_a_store_locked_for_too_long_is_unavailable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path)
    monkeypatch.setattr("flannel_sdk.stores.sqlite_storage._BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with opened(path) as store:
            await store.get_network_config()
            with pytest.raises(StoreUnavailable, match=r"locked by another process for 0\.1 s"):
                await store.acquire_lease(node(2))
            other.execute("ROLLBACK")
            await store.acquire_lease(node(2))


async def test_a_deleted_file_is_said_and_not_made_again(path: Path) -> None:
    async with opened(path) as store:
        await store.put_network_config(IPV4)
        lease = await store.acquire_lease(node(1))
        os.unlink(path)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="was deleted"):
                await store.renew_lease(lease)
        assert not exists(path)


async def test_a_watch_outlives_the_replacement_of_its_file(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as store, opened(path.with_name("other.db")) as other:
        await store.put_network_config(IPV4)
        await store.acquire_lease(node(1))
        await other.put_network_config(IPV4)
        restored = await other.acquire_lease(node(2))
        await other.aclose()
        async with watching(store) as items, asyncio.timeout(20):
            assert isinstance(await anext(items), LeaseSnapshot)
            with caplog.at_level(logging.WARNING):
                os.rename(path.with_name("other.db"), path)
                found = await anext(items)
            assert isinstance(found, LeaseSnapshot)
            assert list(found.leases) == [restored]
            assert len(caplog.records) == 1
            assert "replaced" in caplog.text
            renewed = await store.renew_lease(restored)
            changed = await anext(items)
            assert isinstance(changed, LeaseDelta)
            assert list(changed.changed) == [renewed]


@pytest.mark.slow
async def test_a_deleted_file_is_no_empty_snapshot(path: Path) -> None:
    async with opened(path) as store:
        await store.put_network_config(IPV4)
        await store.acquire_lease(node(1))
        async with watching(store) as items:
            await anext(items)
            asking = asyncio.ensure_future(anext(items))
            os.unlink(path)
            await asyncio.wait([asking], timeout=1.0)
            assert not asking.done()
            async with opened(path) as successor:
                await successor.put_network_config(IPV4)
                lease = await successor.acquire_lease(node(5))
                async with asyncio.timeout(20):
                    found = await asking
            assert isinstance(found, LeaseSnapshot)
            assert set(found.leases) <= {lease}


async def test_without_inotify_a_watch_polls(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("flannel_sdk.stores.sqlite_signal.FileWatch", refuse)
    monkeypatch.setattr("flannel_sdk.stores.sqlite_signal._POLL", 0.05)
    async with opened(path) as store:
        await store.put_network_config(IPV4)
        async with watching(store) as items, asyncio.timeout(10):
            await anext(items)
            lease = await store.acquire_lease(node(1))
            found = await anext(items)
            assert isinstance(found, LeaseDelta)
            assert list(found.changed) == [lease]
    assert "for want of an inotify instance" in caplog.text


async def test_the_log_is_cut(path: Path) -> None:
    async with opened(path) as store:
        await store.put_network_config(IPV4)
        lease = await store.acquire_lease(node(1))

        for _ in range(20):
            await store.storage.write(
                lambda table: [table.put("10.3.9.0-24", b"%d" % n, None) for n in range(500)]
            )
        async with aclosing(store.watch_lease(lease)) as states:
            await anext(states)
    with closing(sqlite3.connect(path)) as connection:
        (length,) = connection.execute("SELECT count(*) FROM changes").fetchone()
    assert 4096 <= length < 4096 + 512


def test_errors_of_the_store_chain_their_cause(path: Path) -> None:
    path.write_bytes(b"x" * 4096)

    async def use() -> StoreError:
        async with opened(path) as store:
            with pytest.raises(StoreError) as caught:
                await store.get_network_config()
            return caught.value

    assert isinstance(asyncio.run(use()).__cause__, sqlite3.Error)


def test_the_store_module_loads_sqlite_only_when_it_opens_one() -> None:
    code = "import sys, flannel_sdk.stores.sqlite; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
