"""Our own key deleted, expired or overwritten: noticed at once, taken again, nothing left over."""

import asyncio

import pytest

from flannel_sdk.engine.keeper import LeaseKeeper
from flannel_sdk.model import encode_attrs, format_subnet_key
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.load import (
    PATIENCE,
    holds,
    keeping,
    lease_keys,
    leases_in_use,
    manager,
    node,
    options,
    put_config,
    viewing,
)
from plugins.etcd.tests.proxy import OpenProxy
from plugins.etcd.tests.servers import Cluster, Setup, StartEtcd
from tests.stopwatch import Stopwatch

pytestmark = pytest.mark.server


@pytest.fixture
def network(etcd: Cluster, prefix: str) -> str:
    """The prefix of a network on the shared server."""
    put_config(etcd, prefix)
    return prefix


def key_of(keeper: LeaseKeeper, prefix: str) -> str:
    return f"{prefix}/subnets/{format_subnet_key(keeper.lease.subnets)}"


async def reacquired(keeper: LeaseKeeper, times: int = 1) -> None:
    await eventually(
        lambda: keeper.status()["reacquisitions"] == times, f"{times} reacquisitions", PATIENCE
    )


def etcd_lease(etcd: Cluster, key: str) -> int:
    stored = etcd.control.get(key)
    assert stored is not None
    return stored.lease


async def test_a_deleted_key_is_written_again(etcd: Cluster, network: str) -> None:
    async with (
        manager(options(etcd.member.url, prefix=network)) as opened,
        keeping(opened, 1) as keeper,
        viewing(opened) as view,
    ):
        key, subnets = key_of(keeper, network), keeper.lease.subnets
        old = etcd_lease(etcd, key)
        stopwatch = Stopwatch()
        etcd.control.delete(key)
        await reacquired(keeper)
        await holds(keeper, etcd.control, network)
        assert stopwatch.seconds < 2
        assert keeper.lease.subnets == subnets
        assert etcd_lease(etcd, key) != old
        await eventually(lambda: old not in etcd.control.leases(), "the old etcd lease is revoked")
        await view.agrees(etcd, network)


async def test_a_revoked_lease_is_taken_again(etcd: Cluster, network: str) -> None:
    async with (
        manager(options(etcd.member.url, prefix=network)) as opened,
        keeping(opened, 1) as keeper,
    ):
        key, subnets = key_of(keeper, network), keeper.lease.subnets
        etcd.control.revoke(etcd_lease(etcd, key))
        await reacquired(keeper)
        await holds(keeper, etcd.control, network)
        assert keeper.lease.subnets == subnets


async def test_a_key_that_is_somebody_elses_now_is_left_to_them(
    etcd: Cluster, network: str
) -> None:
    async with (
        manager(options(etcd.member.url, prefix=network)) as opened,
        keeping(opened, 1) as keeper,
    ):
        key, subnets = key_of(keeper, network), keeper.lease.subnets
        theirs = encode_attrs(node(2))
        old = etcd_lease(etcd, key)
        etcd.control.put(key, theirs)
        await reacquired(keeper)
        await holds(keeper, etcd.control, network)
        assert keeper.lease.subnets != subnets
        stored = etcd.control.get(key)
        assert stored is not None
        assert (stored.value, stored.lease) == (theirs.decode(), 0)
        await eventually(lambda: old not in etcd.control.leases(), "the old etcd lease is revoked")


async def test_what_others_write_into_our_key_is_replaced(etcd: Cluster, network: str) -> None:
    async with (
        manager(options(etcd.member.url, prefix=network)) as opened,
        keeping(opened, 1) as keeper,
    ):
        key, subnets = key_of(keeper, network), keeper.lease.subnets
        ours = encode_attrs(node(1))
        etcd.control.put(key, ours.replace(b'"VNI":1', b'"VNI":9'), etcd_lease(etcd, key))

        def ours_again() -> bool:
            stored = etcd.control.get(key)
            return stored is not None and stored.value.encode() == ours

        await eventually(ours_again, "our own value", PATIENCE)
        await holds(keeper, etcd.control, network)
        assert keeper.lease.subnets == subnets
        stored = etcd.control.get(key)
        assert stored is not None
        assert stored.lease != 0, "it still expires"


@pytest.mark.slow
async def test_a_lease_that_expired_while_we_were_cut_off(
    etcd: Cluster, network: str, open_proxy: OpenProxy
) -> None:
    proxy = await open_proxy(etcd.member.port)
    here = options(proxy.url(), prefix=network, timeout=2.0)
    async with manager(here, lease_ttl=2) as opened, keeping(opened, 1) as keeper:
        subnets = keeper.lease.subnets
        proxy.silence()
        await eventually(lambda: not lease_keys(etcd.control, network), "its expiry", PATIENCE)
        proxy.heal()
        await holds(keeper, etcd.control, network)
        assert keeper.lease.subnets == subnets


@pytest.mark.slow
async def test_a_subnet_that_somebody_took_meanwhile(
    etcd: Cluster, network: str, open_proxy: OpenProxy
) -> None:
    proxy = await open_proxy(etcd.member.port)
    here = options(proxy.url(), prefix=network, timeout=2.0)
    async with manager(here, lease_ttl=2) as opened, keeping(opened, 1) as keeper:
        subnets = keeper.lease.subnets
        proxy.silence()
        await eventually(lambda: not lease_keys(etcd.control, network), "its expiry", PATIENCE)
        async with manager(options(etcd.member.url, prefix=network)) as other:
            theirs = await other.acquire_lease(node(2), subnets)
            assert theirs.subnets == subnets
        proxy.heal()
        await eventually(lambda: keeper.lease.subnets != subnets, "another subnet", PATIENCE)
        await holds(keeper, etcd.control, network)
        assert len(lease_keys(etcd.control, network)) == 2


@pytest.mark.slow
async def test_a_dead_nodes_lease_ends(etcd: Cluster, network: str) -> None:
    async with manager(options(etcd.member.url, prefix=network)) as opened:
        async with manager(options(etcd.member.url, prefix=network), lease_ttl=2) as dead:
            await dead.acquire_lease(node(9))
        async with viewing(opened) as view:
            assert len(view.revisions) == 1, "closing a manager keeps the lease"
            await eventually(lambda: not view.revisions, "its removal", PATIENCE)
            assert view.snapshots == 1


@pytest.mark.slow
async def test_renewals_leave_no_etcd_lease_behind(start_etcd: StartEtcd, prefix: str) -> None:
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    async with (
        manager(options(etcd.member.url, prefix=prefix), lease_ttl=3) as opened,
        keeping(opened, 1) as keeper,
    ):
        await eventually(lambda: keeper.status()["renewals"] == 2, "two renewals", PATIENCE)
        await eventually(
            lambda: etcd.control.leases() == leases_in_use(etcd.control), "one etcd lease"
        )
        assert len(etcd.control.leases()) == 1
        assert keeper.status()["reacquisitions"] == 0


async def test_a_cancelled_acquisition_leaves_nothing(etcd: Cluster, network: str) -> None:
    """Cancelled at each of its awaits in turn: no etcd lease of ours without a key stays."""
    before = etcd.control.leases()
    async with manager(options(etcd.member.url, prefix=network)) as opened:
        for steps in range(60):
            task = asyncio.create_task(opened.acquire_lease(node(steps)))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
    used = leases_in_use(etcd.control)
    await eventually(
        lambda: etcd.control.leases() - before <= used, "no etcd lease without a key", PATIENCE
    )
