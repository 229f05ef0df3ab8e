"""Watches of leases: a snapshot, deltas in order, gaps, expiry, our own lease, closing."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from typing import TypeVar

import pytest
from flannel_sdk_etcd.manager import EtcdSubnetManager

from flannel_sdk.engine.feed import LeaseFeed
from flannel_sdk.model import (
    UNKNOWN_EXPIRY,
    Lease,
    LeaseDelta,
    LeaseGone,
    LeaseHeld,
    LeaseSnapshot,
    LeaseState,
    encode_attrs,
    format_subnet_key,
)
from plugins.etcd.tests.nodes import IPV4, node, subnets
from plugins.etcd.tests.store.site import Site

T = TypeVar("T")
Items = AsyncGenerator[LeaseSnapshot | LeaseDelta, None]


@pytest.fixture
async def store(site: Site) -> EtcdSubnetManager:
    """A manager of an IPv4 network."""
    await site.configure(IPV4)
    return site.open()


def watching(store: EtcdSubnetManager) -> AbstractAsyncContextManager[Items]:
    return aclosing(store.watch_leases())


async def soon(items: AsyncGenerator[T, None]) -> T:
    async with asyncio.timeout(10):
        return await anext(items)


async def delta(items: Items) -> LeaseDelta:
    item = await soon(items)
    assert isinstance(item, LeaseDelta)
    return item


async def snapshot(items: Items) -> LeaseSnapshot:
    item = await soon(items)
    assert isinstance(item, LeaseSnapshot)
    return item


def as_peers_see(lease: Lease) -> Lease:
    return replace(lease, expires_at=UNKNOWN_EXPIRY)


async def test_snapshot_then_deltas_in_order(site: Site, store: EtcdSubnetManager) -> None:
    one = await store.acquire_lease(node(1))
    async with watching(site.open()) as items:
        before = time.monotonic()
        first = await snapshot(items)
        assert list(first.leases) == [as_peers_see(one)]
        assert before <= first.received_at <= time.monotonic()
        two = await store.acquire_lease(node(2))
        added = await delta(items)
        assert list(added.changed) == [as_peers_see(two)]
        assert added.received_at > 0
        assert not added.removed
        renewed = await store.renew_lease(two)
        assert list((await delta(items)).changed) == [as_peers_see(renewed)]
        await site.delete(format_subnet_key(one.subnets))
        removed = await delta(items)
        assert list(removed.removed) == [one.subnets]
        assert removed.revision > added.revision > first.revision


async def test_an_empty_store_gives_an_empty_snapshot(store: EtcdSubnetManager) -> None:
    async with watching(store) as items:
        assert list((await snapshot(items)).leases) == []
        lease = await store.acquire_lease(node(1))
        assert list((await delta(items)).changed) == [as_peers_see(lease)]


async def test_other_keys_of_the_prefix_are_none_of_ours(
    site: Site, store: EtcdSubnetManager
) -> None:
    for key in (b"subnets0", b"subnetsx/10.3.1.0-24", b"other/10.3.1.0-24", b"config2"):
        await site.client.put(site.keys.config.replace(b"config", key), b"{")
    async with watching(store) as items:
        first = await snapshot(items)
        assert (first.leases, first.malformed) == ([], [])


async def test_d5_a_reservation_is_told_from_a_lease(site: Site, store: EtcdSubnetManager) -> None:
    await site.put("10.3.1.0-24", encode_attrs(node(1)))
    async with watching(store) as items:
        (found,) = (await snapshot(items)).leases
        assert found.expires_at is None
        lease = await store.acquire_lease(node(2))
        assert [one.expires_at for one in (await delta(items)).changed] == [UNKNOWN_EXPIRY]
        assert lease.expires_at is not None


async def test_d6_our_own_lease_is_reported_like_any_other(store: EtcdSubnetManager) -> None:
    own = await store.acquire_lease(node(1))
    for _ in range(2):
        async with watching(store) as items:
            assert list((await snapshot(items)).leases) == [as_peers_see(own)]


async def test_the_end_of_an_etcd_lease_is_a_removal(site: Site, store: EtcdSubnetManager) -> None:
    lease = await store.acquire_lease(node(1))
    entry = await site.entry(format_subnet_key(lease.subnets))
    async with watching(store) as items, aclosing(store.watch_lease(lease)) as states:
        await snapshot(items)
        await soon(states)
        await site.client.revoke_lease(entry.lease)
        assert list((await delta(items)).removed) == [lease.subnets]
        gone = await soon(states)
        assert isinstance(gone, LeaseGone)
        assert "deleted or has expired" in gone.reason


async def test_d41_a_renewal_without_a_difference_wakes_no_backend(
    store: EtcdSubnetManager,
) -> None:
    config = await store.get_network_config()
    own = await store.acquire_lease(node(1))
    peer = await store.acquire_lease(node(2))
    feed = LeaseFeed(config, own)
    async with watching(store) as items, aclosing(feed.updates()) as updates:
        feed.apply(await snapshot(items))
        assert [one.subnets for one in (await soon(updates)).changed] == [peer.subnets]
        peer = await store.renew_lease(peer)
        feed.apply(await delta(items))
        assert not feed.pending
        await store.renew_lease(replace(peer, attrs=node(2, mac="02:00:00:00:00:01")))
        feed.apply(await delta(items))
        assert feed.pending


async def test_our_own_lease_is_watched(site: Site, store: EtcdSubnetManager) -> None:
    lease = await store.acquire_lease(node(1))
    name = format_subnet_key(lease.subnets)
    async with aclosing(store.watch_lease(lease)) as states:
        assert await soon(states) == LeaseHeld(lease)
        await store.acquire_lease(node(2))  # somebody else's change is none of ours
        await site.put(name + "&fc00::-64", encode_attrs(node(3)))  # nor a longer key
        renewed = await store.renew_lease(lease)
        assert await soon(states) == LeaseHeld(renewed)
        for value in (encode_attrs(node(3)), b"{"):
            await site.put(name, value)
            gone = await soon(states)
            assert isinstance(gone, LeaseGone)
        await site.delete(name)
        gone = await soon(states)
        assert isinstance(gone, LeaseGone)
        assert "deleted" in gone.reason
        await site.delete(name + "&fc00::-64")
        again = await store.acquire_lease(node(1), previous=lease.subnets)
        assert again.subnets == lease.subnets
        assert await soon(states) == LeaseHeld(again)
        await store.renew_lease(again)
    assert await site.unused_etcd_leases() == set()


async def test_the_end_of_a_lease_that_others_granted_is_asked_for(
    site: Site, store: EtcdSubnetManager
) -> None:
    lease = await store.acquire_lease(node(1))
    async with aclosing(site.open().watch_lease(lease)) as states:
        held = await soon(states)
        assert isinstance(held, LeaseHeld)
        assert held.lease.expires_at == pytest.approx(lease.expires_at, abs=2)
    await site.put("10.3.1.0-24", encode_attrs(node(2)))
    reserved = await store.acquire_lease(node(2))
    async with aclosing(site.open().watch_lease(reserved)) as states:
        assert await soon(states) == LeaseHeld(reserved)
        assert reserved.expires_at is None


async def test_closing_the_manager_ends_its_watches(site: Site, store: EtcdSubnetManager) -> None:
    lease = await store.acquire_lease(node(1))

    async def count(items: AsyncGenerator[object, None]) -> int:
        return len([item async for item in items])

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(count(store.watch_leases())),
            group.create_task(count(store.watch_lease(lease))),
            group.create_task(count(store.watch_network_config())),
        ]
        async with watching(store) as items, watching(store) as waiting:
            await snapshot(items)
            await snapshot(waiting)
            second = group.create_task(count(waiting))
            await asyncio.sleep(0)
            await store.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(items)
            assert await second == 0
    assert all(task.result() <= 1 for task in tasks)
    assert [item async for item in store.watch_leases()] == []


async def test_a_cancelled_watch_leaves_nothing_and_the_store_works_on(
    store: EtcdSubnetManager,
) -> None:
    lease = await store.acquire_lease(node(1))
    seen = asyncio.Event()

    async def watch(items: AsyncGenerator[object, None]) -> None:
        async with aclosing(items):
            async for _ in items:
                seen.set()

    for _ in range(3):
        for items in (store.watch_leases(), store.watch_lease(lease), store.watch_network_config()):
            seen.clear()
            task = asyncio.create_task(watch(items))
            await seen.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await store.acquire_lease(node(1))


async def test_states_may_be_skipped_and_the_newest_never(
    site: Site, store: EtcdSubnetManager
) -> None:
    lease = await store.acquire_lease(node(1))
    async with aclosing(store.watch_lease(lease)) as states:
        assert await soon(states) == LeaseHeld(lease)
        for _ in range(20):
            lease = await store.renew_lease(lease)
        await site.delete(format_subnet_key(lease.subnets))
        state: LeaseState = LeaseHeld(lease)
        while isinstance(state, LeaseHeld):
            state = await soon(states)


@pytest.mark.slow
@pytest.mark.server
async def test_expiry_is_reported_at_its_time(site: Site) -> None:
    """By etcd's own clock, where the etcd is real; by ours moved by hand, it is an etcd lease."""
    await site.configure(IPV4)
    store = site.open(ttl=2)
    lease = await store.acquire_lease(node(1))
    reserved = await site.put("10.3.50.0-24", encode_attrs(node(2)))
    assert reserved
    async with watching(store) as items, aclosing(store.watch_lease(lease)) as states:
        await snapshot(items)
        assert await soon(states) == LeaseHeld(lease)
        await site.let_pass(2)
        assert list((await delta(items)).removed) == [lease.subnets]
        assert isinstance(await soon(states), LeaseGone)
        assert time.time() >= (lease.expires_at or 0.0) or site.is_fake
    assert await site.names() == ["10.3.50.0-24"]
    assert subnets("10.3.50.0/24") != lease.subnets
