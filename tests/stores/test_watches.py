"""Watches: snapshot first, deltas in order, gaps, expiry, malformed entries, cancellation."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from flannel_sdk.model import (
    ByFamily,
    Lease,
    LeaseDelta,
    LeaseGone,
    LeaseHeld,
    LeaseSnapshot,
    encode_attrs,
    format_subnet_key,
)
from flannel_sdk.stores import sqlite
from flannel_sdk.stores.manager import EmbeddedSubnetManager
from flannel_sdk.stores.table import Writer
from tests.stores.conftest import OpenStore
from tests.stores.nodes import DUAL, IPV4, delete, node, put, subnets, watching

T = TypeVar("T")


async def soon(items: AsyncGenerator[T, None]) -> T:
    async with asyncio.timeout(10):
        return await anext(items)


async def delta(items: AsyncGenerator[LeaseSnapshot | LeaseDelta, None]) -> LeaseDelta:
    item = await soon(items)
    assert isinstance(item, LeaseDelta)
    return item


async def snapshot(items: AsyncGenerator[LeaseSnapshot | LeaseDelta, None]) -> LeaseSnapshot:
    item = await soon(items)
    assert isinstance(item, LeaseSnapshot)
    return item


async def test_snapshot_then_deltas_in_order(open_store: OpenStore) -> None:
    writer, reader = open_store(), open_store()
    await writer.put_network_config(IPV4)
    one = await writer.acquire_lease(node(1))
    async with watching(reader) as items:
        first = await snapshot(items)
        assert list(first.leases) == [one]
        assert first.received_at > 0
        two = await writer.acquire_lease(node(2))
        added = await delta(items)
        assert list(added.changed) == [two]
        assert not added.removed
        renewed = await writer.renew_lease(two)
        assert list((await delta(items)).changed) == [renewed]
        await delete(writer, one)
        removed = await delta(items)
        assert list(removed.removed) == [one.subnets]
        assert removed.revision > added.revision > first.revision


async def test_an_empty_store_gives_an_empty_snapshot(store: EmbeddedSubnetManager) -> None:
    async with watching(store) as items:
        assert (await snapshot(items)).leases == []
        lease = await store.acquire_lease(node(1))
        assert list((await delta(items)).changed) == [lease]


async def test_changes_between_two_reads_become_one_delta(store: EmbeddedSubnetManager) -> None:
    async with watching(store) as items:
        await snapshot(items)
        lease = await store.acquire_lease(node(1))
        gone = await store.acquire_lease(node(2))
        lease = await store.renew_lease(lease)
        await delete(store, gone)
        found = await delta(items)
        assert list(found.changed) == [lease]
        assert list(found.removed) == [gone.subnets]


async def test_d7_a_gap_gives_a_snapshot_with_every_changed_field(
    store: EmbeddedSubnetManager,
) -> None:
    lease = await store.acquire_lease(node(1))
    gone = await store.acquire_lease(node(2))
    async with watching(store) as items:
        await snapshot(items)

        def churn(table: Writer) -> None:
            for number in range(5000):
                table.put(f"10.3.{number % 200}.{number % 256}-32", b"{}", None)
            for number in range(5000):
                table.delete(f"10.3.{number % 200}.{number % 256}-32")

        await store.storage.write(churn)
        await delete(store, gone)
        changed = await store.renew_lease(
            Lease(lease.subnets, node(1, mac="02:00:00:00:00:01"), None, lease.revision)
        )
        found = await snapshot(items)
        assert list(found.leases) == [changed]


async def test_d6_our_own_lease_is_reported_like_any_other(store: EmbeddedSubnetManager) -> None:
    own = await store.acquire_lease(node(1))
    for _ in range(2):
        async with watching(store) as items:
            found = await snapshot(items)
            assert list(found.leases) == [own]


async def test_expiry_is_reported_as_removal_at_its_time(open_store: OpenStore) -> None:
    store, other = open_store(ttl=0.3), open_store()
    await store.put_network_config(IPV4)
    async with watching(other) as items, watching(store) as more:
        await snapshot(items)
        await snapshot(more)
        lease = await store.acquire_lease(node(1))
        await put(store, "10.3.50.0-24", encode_attrs(node(2)))
        changed = [*(await delta(items)).changed]
        while len(changed) < 2:
            changed += (await delta(items)).changed
        removed = await delta(items)
        late = time.time() - (lease.expires_at or 0.0)
        assert list(removed.removed) == [lease.subnets]
        assert not removed.changed
        assert 0 <= late < 1
        while not (seen := await delta(more)).removed:
            assert seen.changed
        assert list(seen.removed) == [lease.subnets]
    rows = await store.storage.read(lambda table: table.rows())
    assert [row[0] for row in rows] == ["10.3.50.0-24"]


async def test_an_expired_entry_is_not_in_a_snapshot(store: EmbeddedSubnetManager) -> None:
    await put(store, "10.3.50.0-24", encode_attrs(node(2)), time.time() - 1)
    async with watching(store) as items:
        assert (await snapshot(items)).leases == []


async def test_d2_a_malformed_entry_hides_only_itself(store: EmbeddedSubnetManager) -> None:
    lease = await store.acquire_lease(node(1))
    await put(store, "notes", b"{}")
    async with watching(store) as items:
        first = await snapshot(items)
        assert list(first.leases) == [lease]
        assert [entry.key for entry in first.malformed] == ["notes"]
        await put(store, "10.3.60.0-24", b"{")
        found = await delta(items)
        assert [entry.key for entry in found.malformed] == ["10.3.60.0-24"]
        assert list(found.removed) == [subnets("10.3.60.0/24")]
        await put(store, format_subnet_key(lease.subnets), b"null")
        broken = await delta(items)
        assert not broken.changed
        assert list(broken.removed) == [lease.subnets]
        await put(store, "10.3.60.0-24", encode_attrs(node(3)))
        assert [one.attrs for one in (await delta(items)).changed] == [node(3)]
        await store.storage.write(lambda table: table.delete("notes"))
        gone = await delta(items)
        assert (list(gone.cleared), list(gone.removed)) == (["notes"], [])


async def test_our_own_lease_is_watched(store: EmbeddedSubnetManager) -> None:
    lease = await store.acquire_lease(node(1))
    key = format_subnet_key(lease.subnets)
    async with aclosing(store.watch_lease(lease)) as states:
        assert await soon(states) == LeaseHeld(lease)
        await store.acquire_lease(node(2))  # somebody else's change is none of ours
        renewed = await store.renew_lease(lease)
        assert await soon(states) == LeaseHeld(renewed)
        await put(store, key, encode_attrs(node(3)), time.time() + 60)
        gone = await soon(states)
        assert isinstance(gone, LeaseGone)
        assert "another node" in gone.reason
        await delete(store, lease)
        gone = await soon(states)
        assert isinstance(gone, LeaseGone)
        assert "deleted" in gone.reason
        again = await store.acquire_lease(node(1), previous=lease.subnets)
        assert again.subnets == lease.subnets
        assert await soon(states) == LeaseHeld(again)


async def test_the_end_of_our_own_lease_is_seen(open_store: OpenStore) -> None:
    store = open_store(ttl=0.2)
    await store.put_network_config(IPV4)
    lease = await store.acquire_lease(node(1))
    async with aclosing(store.watch_lease(lease)) as states:
        assert await soon(states) == LeaseHeld(lease)
        assert isinstance(await soon(states), LeaseGone)
        assert time.time() >= (lease.expires_at or 0.0)


async def test_the_configuration_is_watched(open_store: OpenStore) -> None:
    store = open_store()
    async with aclosing(store.watch_network_config()) as configs:
        asking = asyncio.create_task(soon(configs))
        await store.storage.write(lambda table: table.put_config('{"Network":"nonsense"}'))
        ipv4 = await store.put_network_config(IPV4)
        assert await asking == ipv4
        await store.put_network_config(IPV4 + " ")
        await store.acquire_lease(node(1))
        await store.storage.write(lambda table: table.put_config("{}"))
        dual = await store.put_network_config(DUAL)
        assert await soon(configs) == dual


async def test_closing_the_manager_ends_its_watches(open_store: OpenStore) -> None:
    store = open_store()
    await store.put_network_config(IPV4)
    lease = await store.acquire_lease(node(1))

    async def count(items: AsyncGenerator[object, None]) -> int:
        return len([item async for item in items])

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(count(store.watch_leases())),
            group.create_task(count(store.watch_lease(lease))),
            group.create_task(count(store.watch_network_config())),
        ]
        async with watching(store) as items:
            await snapshot(items)
            await store.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(items)
    assert all(task.result() <= 1 for task in tasks)


async def test_a_cancelled_watch_leaves_nothing_and_the_store_works_on(
    store: EmbeddedSubnetManager, kind: str
) -> None:
    seen = asyncio.Event()

    async def watch() -> None:
        async with watching(store) as items:
            async for _ in items:
                assert inotify_instances() == (kind == "sqlite")
                seen.set()

    for _ in range(3):
        seen.clear()
        task = asyncio.create_task(watch())
        await seen.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert inotify_instances() == 0
        await store.acquire_lease(node(1))


def inotify_instances() -> int:
    files = Path("/proc/self/fd")
    count = 0
    for file in files.iterdir():
        with suppress(FileNotFoundError):  # the listing's own descriptor
            count += os.readlink(file) == "anon_inode:inotify"
    return count


def test_an_abandoned_watch_ends_with_the_loop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def abandon() -> None:
        store = sqlite.plugin.open(sqlite.SqliteOptions(str(tmp_path / "net.db")))
        await store.put_network_config(IPV4)
        lease = await store.acquire_lease(node(1))
        items, states = store.watch_leases(), store.watch_lease(lease)
        await soon(items)
        await soon(states)
        await asyncio.get_running_loop().shutdown_asyncgens()
        await store.aclose()

    asyncio.run(abandon())
    assert not caplog.records


async def test_a_cancelled_acquisition_leaves_a_whole_entry_or_none(
    open_store: OpenStore,
) -> None:
    store = open_store()
    await store.put_network_config(IPV4)
    for number in range(20):
        task = asyncio.create_task(store.acquire_lease(node(number)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with watching(store) as items:
        found = await snapshot(items)
    assert not found.malformed
    ips = [lease.attrs.public_ips for lease in found.leases]
    assert len(set(ips)) == len(ips)
    assert len({lease.subnets for lease in found.leases}) == len(ips)
    assert all(isinstance(one, ByFamily) for one in ips)


@pytest.mark.slow
async def test_an_idle_watch_costs_nothing(open_store: OpenStore) -> None:
    store = open_store()
    await store.put_network_config(IPV4)
    lease = await store.acquire_lease(node(1))
    async with watching(store) as items, aclosing(store.watch_lease(lease)) as states:
        await snapshot(items)
        await soon(states)
        tasks = [asyncio.ensure_future(anext(items)), asyncio.ensure_future(anext(states))]
        await asyncio.wait(tasks, timeout=0.3)  # what the writes before still cause
        used = time.process_time()
        await asyncio.wait(tasks, timeout=1.0)
        assert time.process_time() - used < 0.01
        await store.renew_lease(lease)
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks)
