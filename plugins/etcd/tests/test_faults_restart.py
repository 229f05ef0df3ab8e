"""One server that is killed, stopped, paused or cut off while it is watched: nothing is lost."""

import asyncio

import pytest

from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.load import (
    PATIENCE,
    holds,
    keeping,
    lease_keys,
    leases_in_use,
    manager,
    node,
    nothing_lost,
    options,
    put_config,
    recording,
    viewing,
    writing,
)
from plugins.etcd.tests.proxy import OpenProxy
from plugins.etcd.tests.servers import Cluster, Setup, StartEtcd
from tests.stopwatch import Stopwatch

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_restart_under_a_watch_loses_no_event(
    start_etcd: StartEtcd, prefix: str, how: str
) -> None:
    etcd = start_etcd(Setup())
    start = etcd.control.put(f"{prefix}/first", "0")
    async with recording(options(etcd.member.url), prefix, start) as log:
        async with writing(etcd, prefix) as writer:
            for _ in range(2):
                await writer.writes(50)
                await asyncio.to_thread(getattr(etcd.member, how))
                await writer.fails()
                await asyncio.to_thread(etcd.member.restart)
            await writer.writes(50)
        await nothing_lost(log, etcd, prefix)
        assert len(log.seen) > 150


async def test_a_cut_while_history_is_read_loses_no_event(
    etcd: Cluster, prefix: str, open_proxy: OpenProxy
) -> None:
    start = etcd.control.revision() + 1
    for number in range(800):
        etcd.control.put(f"{prefix}/{number:06}", "x" * 4000)
    proxy = await open_proxy(etcd.member.port)
    async with recording(options(proxy.url()), prefix, start) as log:
        for cut in (1, 200, 400):
            await eventually(lambda n=cut: len(log.seen) >= n, f"{cut} events", PATIENCE)  # type: ignore[misc]  # n is bound in the loop
            proxy.cut()
        await nothing_lost(log, etcd, prefix)
    assert len(log.seen) == 800


async def test_a_lease_and_a_view_outlive_a_restart(start_etcd: StartEtcd, prefix: str) -> None:
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    here = options(etcd.member.url, prefix=prefix, timeout=1.0)
    async with (
        manager(here, lease_ttl=3) as opened,
        keeping(opened, 1) as keeper,
        viewing(opened) as view,
    ):
        subnets = keeper.lease.subnets
        await asyncio.to_thread(etcd.member.kill)
        await eventually(lambda: keeper.status()["last_error"], "a renewal that fails", PATIENCE)
        await asyncio.to_thread(etcd.member.restart)
        renewals = keeper.status()["renewals"]
        await eventually(lambda: keeper.status()["renewals"] != renewals, "a renewal", PATIENCE)
        await view.agrees(etcd, prefix)
        await holds(keeper, etcd.control, prefix)
        assert keeper.lease.subnets == subnets
        await eventually(
            lambda: etcd.control.leases() == leases_in_use(etcd.control), "no etcd lease left over"
        )


async def test_a_server_that_is_down_at_first_is_waited_for(
    start_etcd: StartEtcd, prefix: str
) -> None:
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    await asyncio.to_thread(etcd.member.kill)
    here = options(etcd.member.url, prefix=prefix)
    async with manager(here) as opened, asyncio.TaskGroup() as tasks:
        acquired = tasks.create_task(_kept(opened))
        await asyncio.sleep(0)
        await asyncio.to_thread(etcd.member.restart)
        await asyncio.wait_for(acquired, PATIENCE)
    assert len(lease_keys(etcd.control, prefix)) == 1


async def _kept(opened: object) -> None:
    async with keeping(opened, 1):  # type: ignore[arg-type]  # a manager
        pass


async def test_a_silent_connection_is_left_for_another_endpoint(
    start_etcd: StartEtcd, prefix: str, open_proxy: OpenProxy
) -> None:
    """The first way to the server drops everything; the second one is noticed within seconds."""
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    first, second = await open_proxy(etcd.member.port), await open_proxy(etcd.member.port)
    here = options(first.url(), second.url(), prefix=prefix)
    async with manager(here, lease_ttl=60) as opened, viewing(opened) as view:
        await view.agrees(etcd, prefix)
        first.silence()
        stopwatch = Stopwatch()
        async with manager(options(etcd.member.url, prefix=prefix)) as other:
            await other.acquire_lease(node(2))
        await view.agrees(etcd, prefix)
        assert stopwatch.seconds < 15
        # calls find the way too, and within their time
        stopwatch = Stopwatch()
        assert (await opened.get_network_config()).backend_type == "vxlan"
        assert stopwatch.seconds < 6


async def test_a_silent_partition_heals(
    start_etcd: StartEtcd, prefix: str, open_proxy: OpenProxy
) -> None:
    etcd = start_etcd(Setup())
    proxy = await open_proxy(etcd.member.port)
    start = etcd.control.revision() + 1
    async with (
        recording(options(proxy.url()), prefix, start) as log,
        writing(etcd, prefix, pause=0.02) as writer,
    ):
        await writer.writes(20)
        await eventually(lambda: log.seen, "events", PATIENCE)
        proxy.silence()
        taken = proxy.accepted
        await writer.writes(20)
        proxy.heal()
        await writer.writes(20)
        writer.stopped = True
        await nothing_lost(log, etcd, prefix)
        assert proxy.accepted <= taken + 3, "a short silence is no reason for many connections"


async def test_a_paused_server_is_waited_for(start_etcd: StartEtcd, prefix: str) -> None:
    """SIGSTOP: the kernel keeps the connection and takes new ones, but nobody answers."""
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    here = options(etcd.member.url, prefix=prefix, timeout=1.0)
    async with (
        manager(here, lease_ttl=30) as opened,
        keeping(opened, 1) as keeper,
        viewing(opened) as view,
    ):
        etcd.member.pause()
        with pytest.raises(Exception, match="etcd") as failed:
            await opened.get_network_config()
        etcd.member.resume()
        assert etcd.member.url in str(failed.value)
        await opened.acquire_lease(node(2))
        await view.agrees(etcd, prefix)
        await holds(keeper, etcd.control, prefix)


async def test_a_slow_server_works(
    start_etcd: StartEtcd, prefix: str, open_proxy: OpenProxy
) -> None:
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    proxy = await open_proxy(etcd.member.port)
    proxy.delay = 0.2
    here = options(proxy.url(), prefix=prefix)
    async with (
        manager(here, lease_ttl=30) as opened,
        viewing(opened) as view,
        keeping(opened, 1) as keeper,
    ):
        await view.agrees(etcd, prefix)
        await holds(keeper, etcd.control, prefix)
