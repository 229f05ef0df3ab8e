"""The watch on real servers: whole revisions, progress, servers that fall silent or lose data."""

import asyncio
import base64
import http.client
import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from flannel_sdk_etcd.client import EtcdClient
from flannel_sdk_etcd.errors import Compacted
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.records import WatchBatch
from flannel_sdk_etcd.watch import watch

from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.control import Control
from plugins.etcd.tests.load import background
from plugins.etcd.tests.proxy import OpenProxy, Proxy
from plugins.etcd.tests.servers import Cluster, Member, Setup, StartEtcd, knows, program
from tests.stopwatch import Stopwatch

pytestmark = pytest.mark.server

# etcd 3.7 knows it by its final name alone
PROGRESS = ("--experimental-watch-progress-notify-interval", "--watch-progress-notify-interval")
TRANSACTION = 128
"""As many changes as etcd takes in one, by default."""


@asynccontextmanager
async def _client(*urls: str) -> AsyncIterator[EtcdClient]:
    client = EtcdClient(EtcdOptions(endpoints=urls))
    try:
        yield client
    finally:
        await client.aclose()


def _put_together(control: Control, prefix: str, size: int = 1) -> None:
    """Write many keys in one revision."""
    value = base64.b64encode(b"v" * size).decode()
    keys = [base64.b64encode(f"{prefix}/{n:03}".encode()).decode() for n in range(TRANSACTION)]
    puts = [{"requestPut": {"key": key, "value": value}} for key in keys]
    control.ask("kv/txn", {"success": puts})


async def _put_all(url: str, prefix: str, count: int) -> None:
    """Write so many keys, each in a revision of its own."""

    async def some(client: EtcdClient, first: int) -> None:
        for number in range(first, count, 32):
            await client.put(f"{prefix}/{number:06}".encode(), b"x" * 100)

    async with _client(url) as client, asyncio.TaskGroup() as writers:
        for first in range(32):
            writers.create_task(some(client, first))


async def _cut_often(proxy: Proxy) -> None:
    """Cut at various times after a connection was made, so within responses too."""
    for number in range(8):
        await eventually(lambda: proxy.open_connections, "a connection")
        await asyncio.sleep(0.02 * number)
        proxy.cut()


def _sizes(batch: WatchBatch) -> Counter[int]:
    """How many events of each revision."""
    return Counter(event.entry.mod_revision for event in batch.events)


def _watchers(member: Member) -> int:
    """How many watches the server has."""
    connection = http.client.HTTPConnection("127.0.0.1", member.port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found = re.search(r"^etcd_debugging_mvcc_watcher_total (\d+)$", text, re.MULTILINE)
    assert found is not None
    return int(found[1])


async def test_all_changes_of_a_revision_come_together(etcd: Cluster, prefix: str) -> None:
    async with _client(etcd.member.url) as client:
        start = etcd.control.revision() + 1
        async with aclosing(client.watch(prefix.encode(), start, is_prefix=True)) as batches:
            # first as history, then live; the last is larger than a request may be
            for size in (1, 1, 8000):
                await asyncio.to_thread(_put_together, etcd.control, prefix, size)
                batch = await asyncio.wait_for(anext(batches), 5)
                assert list(_sizes(batch).values()) == [TRANSACTION]


async def test_history_is_delivered_in_whole_revisions_over_breaks(
    etcd: Cluster, prefix: str, open_proxy: OpenProxy
) -> None:
    start = etcd.control.revision() + 1
    for _ in range(100):
        _put_together(etcd.control, prefix)
    await _put_all(etcd.member.url, f"{prefix}/single", 1500)
    proxy = await open_proxy(etcd.member.port)
    proxy.delay = 0.005
    sizes: list[tuple[int, int]] = []
    async with (
        asyncio.timeout(30),
        _client(proxy.url()) as client,
        aclosing(client.watch(prefix.encode(), start, is_prefix=True)) as batches,
        background(_cut_often(proxy)),
    ):
        while len(sizes) < 1600:
            sizes += _sizes(await anext(batches)).items()
    assert proxy.accepted > 3
    revisions = [revision for revision, _ in sizes]
    assert revisions == sorted(set(revisions))
    assert Counter(size for _, size in sizes) == {TRANSACTION: 100, 1: 1500}


@pytest.mark.slow
async def test_a_slow_reader_of_a_long_history_loses_nothing_when_cut_off(
    etcd: Cluster, prefix: str, open_proxy: OpenProxy
) -> None:
    start = etcd.control.revision() + 1
    await _put_all(etcd.member.url, prefix, 20_000)
    proxy = await open_proxy(etcd.member.port)
    revisions: list[int] = []
    async with (
        asyncio.timeout(40),
        _client(proxy.url()) as client,
        aclosing(client.watch(prefix.encode(), start, is_prefix=True)) as batches,
    ):
        while len(revisions) < 20_000:
            revisions += [event.entry.mod_revision for event in (await anext(batches)).events]
            await asyncio.sleep(0.05)
            if len(revisions) in range(9_000, 10_001):
                proxy.cut()
    assert proxy.accepted > 1
    assert revisions == list(range(start, start + 20_000))


async def test_compaction_does_not_hurt_a_watch_that_was_told_of_progress(
    start_etcd: StartEtcd, prefix: str, open_proxy: OpenProxy
) -> None:
    flag = next(flag for flag in PROGRESS if knows(program(), flag))
    etcd = start_etcd(Setup(flags=(f"{flag}=200ms",)))
    proxy = await open_proxy(etcd.member.port)
    start = etcd.control.revision() + 1
    async with (
        _client(proxy.url()) as client,
        aclosing(client.watch(prefix.encode(), start, is_prefix=True)) as batches,
    ):
        change = asyncio.ensure_future(anext(batches))
        await eventually(lambda: _watchers(etcd.member), "a watch")
        for number in range(20):
            etcd.control.put("/others", str(number))
        # Two of them: the first may have been on its way when the last key was written.
        await asyncio.sleep(0.6)
        proxy.refuse()
        etcd.control.compact()
        proxy.heal()
        await eventually(lambda: _watchers(etcd.member), "the watch again")
        etcd.control.put(f"{prefix}/a", "1")
        assert len((await asyncio.wait_for(change, 5)).events) == 1


async def test_compaction_while_cut_off_is_said(
    start_etcd: StartEtcd, prefix: str, open_proxy: OpenProxy
) -> None:
    etcd = start_etcd(Setup())
    proxy = await open_proxy(etcd.member.port)
    start = etcd.control.put(f"{prefix}/a", "1")
    async with (
        _client(proxy.url()) as client,
        aclosing(client.watch(prefix.encode(), start, is_prefix=True)) as batches,
    ):
        await asyncio.wait_for(anext(batches), 5)
        proxy.refuse()
        for number in range(5):
            etcd.control.put(f"{prefix}/a", str(number))
        compacted = etcd.control.compact()
        proxy.heal()
        with pytest.raises(Compacted, match=f"{compacted}, and changes from revision {start + 1}"):
            await asyncio.wait_for(anext(batches), 5)


async def test_a_store_that_lost_its_data_is_noticed(start_etcd: StartEtcd, prefix: str) -> None:
    etcd = start_etcd(Setup())
    for number in range(20):
        etcd.control.put(f"{prefix}/a", str(number))
    start = etcd.control.revision()
    async with _client(etcd.member.url) as client:
        key, end = prefix.encode(), f"{prefix}~".encode()
        async with aclosing(watch(client, key, end, start, silence=0.2)) as batches:
            await asyncio.wait_for(anext(batches), 5)
            await asyncio.to_thread(etcd.member.kill)
            shutil.rmtree(etcd._folder / etcd.member.name)
            await asyncio.to_thread(etcd.member.restart)
            with pytest.raises(Compacted, match=r"set back|another cluster"):
                await asyncio.wait_for(anext(batches), 10)


async def test_a_closed_watch_is_closed_on_the_server(start_etcd: StartEtcd, prefix: str) -> None:
    etcd = start_etcd(Setup())
    async with _client(etcd.member.url) as client:
        async with aclosing(client.watch(prefix.encode(), 1, is_prefix=True)) as batches:
            etcd.control.put(f"{prefix}/a", "1")
            await asyncio.wait_for(anext(batches), 5)
            assert _watchers(etcd.member) == 1
        await eventually(lambda: _watchers(etcd.member) == 0, "no watch", 1)
        waiting = asyncio.ensure_future(anext(client.watch(prefix.encode(), 100, is_prefix=True)))
        await eventually(lambda: _watchers(etcd.member) == 1, "a watch")
        waiting.cancel()
        await eventually(lambda: _watchers(etcd.member) == 0, "no watch", 1)


async def test_watches_cancelled_at_any_moment_leave_nothing_on_the_server(
    start_etcd: StartEtcd, prefix: str, open_proxy: OpenProxy
) -> None:
    etcd = start_etcd(Setup())
    for number in range(50):
        etcd.control.put(f"{prefix}/{number}", "1")
    proxy = await open_proxy(etcd.member.port)
    seen: list[int] = []

    async def follow(client: EtcdClient) -> None:
        async with aclosing(client.watch(prefix.encode(), 1, is_prefix=True)) as batches:
            async for batch in batches:
                seen.append(batch.revision)

    async with _client(proxy.url()) as client:
        for number in range(60):
            following = asyncio.create_task(follow(client))
            await asyncio.sleep(0.003 * (number % 30))
            if number % 10 == 9:
                proxy.cut()
            following.cancel()
            await asyncio.wait([following], timeout=1)
            assert following.cancelled()
        await eventually(lambda: _watchers(etcd.member) == 0, "no watch", 2)
    assert seen, "some were cancelled after they had worked"


async def test_a_client_that_is_closed_ends_its_watches(etcd: Cluster, prefix: str) -> None:
    async with _client(etcd.member.url) as client:
        start = etcd.control.put(f"{prefix}/a", "1")
        async with aclosing(client.watch(prefix.encode(), start, is_prefix=True)) as batches:
            await asyncio.wait_for(anext(batches), 5)
            ending = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0)
            await client.aclose()
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(ending, 1)


async def test_a_paused_server_is_left_within_twice_the_silence(
    start_etcd: StartEtcd, prefix: str, open_proxy: OpenProxy, caplog: pytest.LogCaptureFixture
) -> None:
    etcd = start_etcd(Setup())
    first, second = await open_proxy(etcd.member.port), await open_proxy(etcd.member.port)
    start = etcd.control.put(f"{prefix}/a", "1")
    async with _client(first.url(), second.url()) as client:
        key, end = prefix.encode(), f"{prefix}~".encode()
        async with aclosing(watch(client, key, end, start, silence=0.5)) as batches:
            await asyncio.wait_for(anext(batches), 5)
            change = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(1.2)
            assert not caplog.records, "a quiet server answers when it is asked"
            paused_at, stopwatch = time.monotonic(), Stopwatch()
            etcd.member.pause()
            await eventually(lambda: "nothing was heard for 1 s" in caplog.text, "the silence")
            assert time.monotonic() - paused_at > 0.4
            assert stopwatch.seconds < 1.6
            etcd.member.resume()
            etcd.control.put(f"{prefix}/a", "2")
            assert (await asyncio.wait_for(change, 10)).revision == start + 1


@pytest.mark.slow
async def test_a_member_without_a_leader_says_so_within_seconds(
    start_etcd: StartEtcd, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    three = start_etcd(Setup(members=3))
    caplog.set_level(logging.INFO)
    start = three.control.put(f"{prefix}/a", "1")
    async with (
        _client(three.member.url) as client,
        aclosing(client.watch(prefix.encode(), start, is_prefix=True)) as batches,
    ):
        await asyncio.wait_for(anext(batches), 5)
        change = asyncio.ensure_future(anext(batches))
        for member in three.members[1:]:
            await asyncio.to_thread(member.kill)
        await eventually(lambda: "no leader" in caplog.text, "no leader", 6)
        for member in three.members[1:]:
            await asyncio.to_thread(member.start)
        for member in three.members:
            await asyncio.to_thread(member.wait_healthy)
        three.control.put(f"{prefix}/a", "2")
        assert (await asyncio.wait_for(change, 10)).revision == start + 1
    assert "works again" in caplog.text
