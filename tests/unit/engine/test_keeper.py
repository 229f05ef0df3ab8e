"""The lease keeper on a real store: renewal in time, loss noticed at once, nobody overwritten."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest

from flannel_sdk.agent import open_store
from flannel_sdk.engine import keeper as keeper_module
from flannel_sdk.engine.keeper import LeaseKeeper
from flannel_sdk.errors import LeaseLost, StoreUnavailable
from flannel_sdk.interfaces import SubnetManager, SupportsConfigWrite
from flannel_sdk.model import (
    UNKNOWN_EXPIRY,
    ByFamily,
    IPAddress,
    Lease,
    LeaseAttrs,
    LeaseGone,
    LeaseHeld,
    LeaseSnapshot,
    LeaseState,
    Prefix,
)
from flannel_sdk.testing.waiting import eventually

_numbers = itertools.count()
CONFIG = '{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}'


def attrs(ip: str = "192.0.2.1", data: str = '{"VNI":1}') -> LeaseAttrs:
    return LeaseAttrs(ByFamily(IPAddress.parse(ip)), "vxlan", ByFamily(data))


@asynccontextmanager
async def two_stores(ttl: float = 3600.0) -> AsyncIterator[tuple[SubnetManager, SubnetManager]]:
    """Two nodes' views of one network."""
    values = {"name": f"keeper-{next(_numbers)}", "ttl": str(ttl)}
    ours, theirs = open_store("memory", values), open_store("memory", values)
    assert isinstance(ours, SupportsConfigWrite)
    await ours.put_network_config(CONFIG)
    try:
        yield ours, theirs
    finally:
        await ours.aclose()
        await theirs.aclose()


@asynccontextmanager
async def running(keeper: LeaseKeeper) -> AsyncIterator[None]:
    task = asyncio.create_task(keeper.run())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(keeper: LeaseKeeper, **counters: object) -> None:
    """Wait until the keeper's counters have these values."""
    await eventually(lambda: counters.items() <= keeper.status().items(), f"{counters}")


async def test_a_lease_is_renewed_before_its_margin_again_and_again() -> None:
    async with two_stores(ttl=0.6) as (ours, _):
        keeper = LeaseKeeper(ours, renew_margin=0.4)
        first = await keeper.acquire_lease(attrs())
        async with running(keeper):
            await until(keeper, renewals=3, reacquisitions=0)
        assert keeper.lease.subnets == first.subnets
        assert first.expires_at is not None
        assert keeper.lease.expires_at is not None
        assert keeper.lease.expires_at > first.expires_at


async def test_a_margin_longer_than_the_lease_does_not_renew_without_a_pause() -> None:
    async with two_stores(ttl=60) as (ours, _):
        keeper = LeaseKeeper(ours, renew_margin=3600)
        await keeper.acquire_lease(attrs())
        async with running(keeper):
            for _ in range(50):
                await asyncio.sleep(0)
            assert keeper.status()["renewals"] == 0


async def test_a_lease_whose_end_is_not_told_is_renewed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not to know when it ends is no reservation, and no reason to renew without a pause."""
    monkeypatch.setattr(keeper_module, "UNKNOWN_EXPIRY_SECONDS", 0.05)
    async with two_stores() as (ours, _):
        real = ours.renew_lease

        async def vague(lease: Lease) -> Lease:
            return replace(await real(lease), expires_at=UNKNOWN_EXPIRY)

        monkeypatch.setattr(ours, "renew_lease", vague)
        keeper = LeaseKeeper(ours)
        start = time.monotonic()
        first = await keeper.acquire_lease(attrs())
        keeper._set(replace(first, expires_at=UNKNOWN_EXPIRY))
        async with running(keeper):
            await eventually(lambda: cast("int", keeper.status()["renewals"]) >= 3, "renewals")
            assert time.monotonic() - start >= 0.15


async def test_a_lease_somebody_overwrote_is_left_to_them_and_another_acquired() -> None:
    """D8: never overwrite what became somebody else's."""
    async with two_stores() as (ours, theirs):
        keeper = LeaseKeeper(ours)
        first = await keeper.acquire_lease(attrs())
        async with running(keeper):
            thief = Lease(first.subnets, attrs("192.0.2.99"), first.expires_at, first.revision)
            await theirs.renew_lease(thief)
            async with asyncio.timeout(5):
                second = await keeper.subnets_changed(first.subnets)
        assert second.subnets != first.subnets
        assert keeper.status()["reacquisitions"] == 1
        taken = await theirs.acquire_lease(attrs("192.0.2.99"))
        assert taken.subnets == first.subnets


async def test_other_attributes_are_published_for_the_same_subnet() -> None:
    async with two_stores() as (ours, theirs):
        keeper = LeaseKeeper(ours)
        first = await keeper.acquire_lease(attrs())
        second = await keeper.acquire_lease(attrs(data='{"VNI":2}'))
        assert second.subnets == first.subnets
        async with aclosing(theirs.watch_leases()) as items:
            snapshot = await anext(items)
        assert isinstance(snapshot, LeaseSnapshot)
        assert [lease.attrs for lease in snapshot.leases] == [second.attrs]


async def test_the_previous_subnet_is_asked_for_first() -> None:
    async with two_stores() as (ours, _):
        previous = ByFamily(Prefix.parse("10.5.77.0/24"))
        keeper = LeaseKeeper(ours, previous=previous)
        assert (await keeper.acquire_lease(attrs())).subnets == previous


class FlakyStore:
    """A store whose calls fail as told; the rest goes to a real one."""

    def __init__(self, store: SubnetManager) -> None:
        self.store = store
        self.name = "flaky"
        self.failures: list[Exception] = []
        self.watch_failures: list[Exception] = []
        self.states: list[LeaseState] = []

    async def acquire_lease(self, wanted: LeaseAttrs, previous: object = None) -> Lease:
        if self.failures:
            raise self.failures.pop(0)
        return await self.store.acquire_lease(wanted)

    async def renew_lease(self, lease: Lease) -> Lease:
        if self.failures:
            raise self.failures.pop(0)
        return await self.store.renew_lease(lease)

    async def watch_lease(self, lease: Lease) -> AsyncGenerator[LeaseState, None]:
        if self.watch_failures:
            raise self.watch_failures.pop(0)
        if self.states:
            yield self.states.pop(0)
            return
        async for state in self.store.watch_lease(lease):
            yield state


async def test_an_older_wish_that_waited_for_the_store_does_not_replace_a_newer_one() -> None:
    """Else peers would keep a MAC address that the node has no more."""
    async with two_stores() as (ours, _):
        flaky = FlakyStore(ours)
        keeper = LeaseKeeper(flaky)  # type: ignore[arg-type]  # used methods only
        await keeper.acquire_lease(attrs())
        flaky.failures = [StoreUnavailable("the store is down")]
        getting_back = asyncio.create_task(keeper._reacquire(keeper.lease, "somebody deleted it"))
        await eventually(lambda: not flaky.failures, "a first try that failed")
        newer = attrs(data='{"VNI":2}')
        await keeper.acquire_lease(newer)
        await getting_back
        async with aclosing(ours.watch_lease(keeper.lease)) as states:
            state = await anext(states)
        assert isinstance(state, LeaseHeld)
        assert state.lease.attrs == keeper.lease.attrs == newer


async def test_a_clock_that_is_set_back_does_not_put_the_renewal_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with two_stores(ttl=3600) as (ours, _):
        keeper = LeaseKeeper(ours, renew_margin=600)
        await keeper.acquire_lease(attrs())
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() - 86400)
        due = keeper._due()
        assert due is not None
        assert 2900 < due <= 3000


@pytest.mark.slow
async def test_an_unavailable_store_is_waited_out_at_each_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """D4: a first failing read of the watch does not end renewal."""
    monkeypatch.setattr(keeper_module, "FIRST_RENEWAL_RETRY", 0.01)
    down = StoreUnavailable("the store is down")
    async with two_stores(ttl=1.0) as (ours, _):
        flaky = FlakyStore(ours)
        flaky.failures = [down]
        flaky.watch_failures = [down, down]
        keeper = LeaseKeeper(flaky, renew_margin=0.9)  # type: ignore[arg-type]  # used methods only
        await keeper.acquire_lease(attrs())
        flaky.failures = [down, down, LeaseLost("somebody deleted it")]
        async with running(keeper):
            await until(keeper, reacquisitions=1)
            await until(keeper, renewals=1, last_error=None)


async def test_what_somebody_wrote_into_our_lease_is_replaced_by_what_we_publish() -> None:
    async with two_stores() as (ours, theirs):
        keeper = LeaseKeeper(ours)
        first = await keeper.acquire_lease(attrs())
        async with running(keeper):
            wrong = Lease(
                first.subnets, attrs(data='{"VNI":666}'), first.expires_at, first.revision
            )
            overwritten = await theirs.renew_lease(wrong)
            await eventually(lambda: keeper.lease.revision > overwritten.revision, "published")
            async with aclosing(theirs.watch_lease(first)) as states:
                state = await anext(states)
        assert isinstance(state, LeaseHeld)
        assert state.lease.attrs == keeper.lease.attrs == attrs()


async def test_two_nodes_with_one_public_ip_do_not_write_without_a_pause() -> None:
    async with two_stores() as (ours, theirs):
        first, second = LeaseKeeper(ours), LeaseKeeper(theirs)
        await first.acquire_lease(attrs())
        async with running(first):
            await second.acquire_lease(attrs(data='{"VNI":2}'))
            async with running(second):
                await eventually(lambda: first.lease.revision > 3, "written back")
                before = max(first.lease.revision, second.lease.revision)
                await asyncio.sleep(0.3)
                assert max(first.lease.revision, second.lease.revision) <= before + 1


async def test_a_node_whose_own_lease_is_never_recognised_does_not_drain_the_network() -> None:
    async with two_stores() as (ours, _):
        flaky = FlakyStore(ours)
        flaky.states = [LeaseGone("gone")] * 100
        keeper = LeaseKeeper(flaky)  # type: ignore[arg-type]  # used methods only
        await keeper.acquire_lease(attrs())
        async with running(keeper):
            await until(keeper, reacquisitions=2)
            await asyncio.sleep(0.3)
            await until(keeper, reacquisitions=2)


async def test_a_watch_that_ends_is_taken_up_again_and_does_not_stop_the_event_loop() -> None:
    async with two_stores() as (ours, _):
        keeper = LeaseKeeper(ours)
        await keeper.acquire_lease(attrs())
        async with asyncio.timeout(5), running(keeper):
            await asyncio.sleep(0)
            await ours.aclose()
            await asyncio.sleep(0.1)
