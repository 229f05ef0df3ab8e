"""Watches that begin without a store, lose history, or break: on the fake etcd."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import pytest
from flannel_sdk_etcd.errors import Compacted
from flannel_sdk_etcd.keys import Keys
from flannel_sdk_etcd.manager import EtcdSubnetManager
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.records import WatchBatch

from flannel_sdk.errors import ConfigError, StoreUnavailable
from flannel_sdk.model import (
    Lease,
    LeaseDelta,
    LeaseGone,
    LeaseHeld,
    LeaseSnapshot,
    NetworkConfig,
    encode_attrs,
)
from flannel_sdk.testing import virtual_time
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.fake_client import FakeClient, FakeEtcd, Fault
from plugins.etcd.tests.nodes import DUAL, IPV4, PREFIX, node, subnets
from plugins.etcd.tests.store.site import fake_site
from plugins.etcd.tests.store.test_lease_watches import delta, snapshot, soon, watching

KEYS = Keys(PREFIX)


class Node:
    """A manager and its client of a fake etcd with an IPv4 network."""

    def __init__(self, page: int | None = None) -> None:
        self.etcd = FakeEtcd()
        self.etcd.put(KEYS.config, IPV4.encode())
        self.client = FakeClient(self.etcd, page)
        self.store = EtcdSubnetManager(EtcdOptions(prefix=PREFIX), client=self.client)

    def put(self, number: int, mac: str = "c6:d2:32:6f:8f:44") -> None:
        key = KEYS.subnets + f"10.3.{number}.0-24".encode()
        self.etcd.put(key, encode_attrs(node(number, mac)))

    def delete(self, number: int) -> None:
        self.etcd.delete(KEYS.subnets + f"10.3.{number}.0-24".encode())


@pytest.fixture
async def one() -> AsyncIterator[Node]:
    made = Node()
    async with made.store:
        yield made


@pytest.fixture
async def paged() -> AsyncIterator[Node]:
    made = Node(page=3)
    async with made.store:
        yield made


async def failing(error: Exception) -> AsyncGenerator[WatchBatch, None]:
    nothing: list[WatchBatch] = []
    for batch in nothing:
        yield batch
    raise error


def numbers(item: LeaseSnapshot | LeaseDelta) -> list[int]:
    assert isinstance(item, LeaseSnapshot)
    return [lease.subnets.ipv4.address[2] for lease in item.leases if lease.subnets.ipv4]


async def test_d7_compaction_gives_a_snapshot_with_every_changed_field(one: Node) -> None:
    for number in (1, 2):
        one.put(number)
    async with watching(one.store) as items:
        assert numbers(await snapshot(items)) == [1, 2]
        asking = asyncio.ensure_future(snapshot(items))
        await asyncio.sleep(0)  # it waits for a change
        one.put(1, "02:00:00:00:00:01")
        one.delete(2)
        one.put(3)
        one.etcd.compact()
        one.client.drop_watches()
        found = await asking
        assert numbers(found) == [1, 3]
        assert found.leases[0].attrs == node(1, "02:00:00:00:00:01")
        assert found.revision == one.etcd.revision
        one.put(4)
        assert [lease.attrs for lease in (await delta(items)).changed] == [node(4)]


async def test_compaction_says_what_became_of_our_own_lease(one: Node) -> None:
    lease = await one.store.acquire_lease(node(1))
    async with aclosing(one.store.watch_lease(lease)) as states:
        assert await soon(states) == LeaseHeld(lease)
        asking = asyncio.ensure_future(soon(states))
        await asyncio.sleep(0)
        one.etcd.delete(KEYS.of(lease.subnets))
        one.put(200)
        one.etcd.compact()
        one.client.drop_watches()
        assert isinstance(await asking, LeaseGone)


async def test_compaction_gives_the_configuration_that_there_is(one: Node) -> None:
    async with aclosing(one.store.watch_network_config()) as configs:
        await soon(configs)
        asking = asyncio.ensure_future(soon(configs))
        await asyncio.sleep(0)
        one.etcd.put(KEYS.config, DUAL.encode())
        one.put(200)
        one.etcd.compact()
        one.client.drop_watches()
        assert await asking == NetworkConfig.parse(DUAL)


def watches(one: Node) -> list[Callable[[], AsyncGenerator[object, None]]]:
    """All three of a store."""
    lease = Lease(subnets("10.3.1.0/24"), node(1))
    return [
        one.store.watch_leases,
        lambda: one.store.watch_lease(lease),
        one.store.watch_network_config,
    ]


@pytest.mark.parametrize("which", range(3))
async def test_d4_a_first_read_that_fails_is_repeated(
    one: Node, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    one.client.faults = {0: Fault.FAIL, 1: Fault.LOST}
    with caplog.at_level(logging.INFO):
        async with aclosing(watches(one)[which]()) as items:
            await soon(items)
    assert len(one.client.requests) == 3
    texts = [record.getMessage() for record in caplog.records]
    assert ["works again" in text for text in texts] == [False] * (len(texts) - 1) + [True]


@pytest.mark.parametrize("which", range(3))
async def test_what_nobody_can_heal_is_raised_at_first_and_waited_out_later(
    one: Node, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = ConfigError("password", "the password is wrong.")
    real = one.client.watch
    fails = True

    async def refuse(key: bytes) -> object:
        raise wrong

    with monkeypatch.context() as patch:
        patch.setattr(one.client, "get", refuse)
        patch.setattr(one.client, "list", lambda prefix: failing(wrong))
        async with aclosing(watches(one)[which]()) as items:
            with pytest.raises(ConfigError, match="the password is wrong"):
                await soon(items)

    def watch(
        key: bytes, start: int, *, is_prefix: bool = False
    ) -> AsyncGenerator[WatchBatch, None]:
        nonlocal fails
        if not fails:
            return real(key, start, is_prefix=is_prefix)
        fails = False
        return failing(wrong)

    monkeypatch.setattr(one.client, "watch", watch)
    async with aclosing(watches(one)[which]()) as items:
        await soon(items)
        again = asyncio.ensure_future(soon(items))
        await eventually(lambda: not fails, "the watch that is refused")
        one.etcd.put(KEYS.config, DUAL.encode())
        one.put(1, "02:00:00:00:00:01")
        await again


def test_a_store_that_is_away_for_long_is_asked_each_five_seconds() -> None:
    async def main() -> None:
        one = Node()
        one.client.is_down = True
        async with one.store, watching(one.store) as items:
            asking = asyncio.ensure_future(anext(items))
            await asyncio.sleep(600)
            assert 120 <= len(one.client.requests) <= 260
            one.client.is_down = False
            before = asyncio.get_running_loop().time()
            await asking
            assert asyncio.get_running_loop().time() - before <= 5

    virtual_time.run(main())


def test_closing_ends_a_watch_that_waits_for_the_store() -> None:
    async def main() -> None:
        one = Node()
        one.client.is_down = True
        asking = asyncio.ensure_future(anext(one.store.watch_leases(), None))
        await asyncio.sleep(100)
        await one.store.aclose()
        assert await asking is None

    virtual_time.run(main())


def test_a_watch_that_breaks_each_time_is_not_repeated_without_a_pause() -> None:
    async def main() -> None:
        one = Node()
        opened = 0

        def broken(*_: object, **__: object) -> AsyncGenerator[WatchBatch, None]:
            nonlocal opened
            opened += 1
            return failing(StoreUnavailable("it is broken"))

        one.client.watch = broken  # type: ignore[method-assign]  # a defect

        async def read_on() -> None:
            async with watching(one.store) as items:
                async for _ in items:
                    pass

        async with one.store:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read_on(), 60)
        assert opened < 30

    virtual_time.run(main())


def test_a_store_that_loses_its_history_each_time_is_not_hammered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first loss costs no time; a server that says so of every list gets ever more of it."""

    async def main() -> None:
        one = Node()
        read_at: list[float] = []

        def lost(*_: object, **__: object) -> AsyncGenerator[WatchBatch, None]:
            read_at.append(asyncio.get_running_loop().time())
            return failing(Compacted(f"history before {len(read_at)} is gone", len(read_at)))

        one.client.watch = lost  # type: ignore[method-assign]  # a defect

        async def read_on() -> None:
            async with watching(one.store) as items:
                async for _ in items:
                    pass

        async with one.store:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read_on(), 300)
        assert read_at[1] == read_at[0]
        assert 60 <= len(read_at) <= 130

    with caplog.at_level(logging.INFO):
        virtual_time.run(main())
    assert len(caplog.records) <= 2 + 5


async def test_d23_a_list_is_one_request_and_an_event_none(one: Node) -> None:
    for number in range(1, 250):
        one.put(number)
    async with watching(one.store) as items:
        assert len(numbers(await snapshot(items))) == 249
        assert one.client.requests == ["list"]
        one.put(250)
        await delta(items)
        assert one.client.requests == ["list"]


async def test_d23_a_lease_that_cannot_be_asked_for_hides_none(one: Node) -> None:
    """Nobody's remaining time is asked for, so that no failure of it can hide a lease."""
    for number in (1, 2):
        one.etcd.grant(number, 10)
        key = KEYS.subnets + f"10.3.{number}.0-24".encode()
        one.etcd.put(key, encode_attrs(node(number)), number)
    async with watching(one.store) as items:
        assert numbers(await snapshot(items)) == [1, 2]
        lease = await one.store.acquire_lease(node(3), subnets("10.3.1.0/24"))
        assert lease.subnets != subnets("10.3.1.0/24")
    assert "lease_time" not in one.client.requests


async def test_d22_what_comes_together_is_told_together(one: Node) -> None:
    async with watching(one.store) as items:
        await snapshot(items)
        for number in range(1, 100):
            one.put(number)
        for number in range(1, 50):
            one.delete(number)
        one.put(60, "02:00:00:00:00:01")
        found = await delta(items)
        assert len(found.changed) == 50
        assert len(found.removed) == 49
        assert not {lease.subnets for lease in found.changed} & set(found.removed)
        assert node(60, "02:00:00:00:00:01") in [lease.attrs for lease in found.changed]
        assert found.revision == one.etcd.revision


async def test_pages_are_of_one_revision(paged: Node) -> None:
    for number in range(1, 11):
        paged.put(number)

    def meanwhile() -> None:
        paged.put(200)
        paged.delete(9)

    paged.client.before[1] = meanwhile
    async with watching(paged.store) as items:
        first = await snapshot(items)
        assert numbers(first) == [1, 10, *range(2, 10)]
        assert paged.client.requests == ["list"] * 4
        found = await delta(items)
        assert [lease.attrs for lease in found.changed] == [node(200)]
        assert list(found.removed) == [subnets("10.3.9.0/24")]


async def test_compaction_between_two_pages_lists_again(paged: Node) -> None:
    for number in range(1, 8):
        paged.put(number)

    def meanwhile() -> None:
        paged.put(200)
        paged.etcd.compact()

    paged.client.before[1] = meanwhile
    async with watching(paged.store) as items:
        assert numbers(await snapshot(items)) == [1, 2, 200, 3, 4, 5, 6, 7]
    paged.client.before[len(paged.client.requests) + 3] = meanwhile
    assert (await paged.store.acquire_lease(node(9))).subnets.ipv4 is not None


async def test_an_abandoned_watch_ends_with_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    def in_a_loop_of_its_own() -> None:
        async def abandon() -> None:
            async with fake_site() as site:
                await site.configure(IPV4)
                store = site.open()
                lease = await store.acquire_lease(node(1))
                items, states = store.watch_leases(), store.watch_lease(lease)
                await soon(items)
                await soon(states)
                await asyncio.get_running_loop().shutdown_asyncgens()

        asyncio.run(abandon())

    await asyncio.to_thread(in_a_loop_of_its_own)
    assert not caplog.records
