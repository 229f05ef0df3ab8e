"""Three members, of which one or two fail: leases are kept and given, and nothing is lost."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from flannel_sdk_etcd.manager import EtcdSubnetManager

from flannel_sdk.errors import StoreUnavailable
from flannel_sdk.model import Lease
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.load import (
    PATIENCE,
    LeaseView,
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
from plugins.etcd.tests.servers import Cluster, Member, Setup, StartEtcd

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(120)]

KEEPERS = 4


@pytest.fixture
def three(start_etcd: StartEtcd, prefix: str) -> Cluster:
    """Three members with a network."""
    cluster = start_etcd(Setup(members=3))
    put_config(cluster, prefix)
    return cluster


class Joiner:
    """Takes leases for new nodes without a pause, waiting out what can heal."""

    def __init__(self, opened: EtcdSubnetManager, first: int) -> None:
        self.leases: list[Lease] = []
        self.stopped = False
        self._manager = opened
        self._next = first

    async def run(self) -> None:
        while not self.stopped:
            try:
                self.leases.append(await self._manager.acquire_lease(node(self._next)))
            except StoreUnavailable:
                continue
            self._next += 1
            await asyncio.sleep(0.02)

    async def joins(self, count: int) -> None:
        goal = len(self.leases) + count
        await eventually(lambda: len(self.leases) >= goal, f"{count} new nodes", PATIENCE)


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_rolling_restart_under_load(three: Cluster, prefix: str, how: str) -> None:
    async with AsyncExitStack() as stack:
        managers = [
            await stack.enter_async_context(
                manager(options(*_rotated(three.urls, number), prefix=prefix), lease_ttl=20)
            )
            for number in range(KEEPERS)
        ]
        # the margin makes each keeper renew all the time
        keepers = [
            await stack.enter_async_context(keeping(opened, number + 1, renew_margin=19.5))
            for number, opened in enumerate(managers)
        ]
        views = [await stack.enter_async_context(viewing(opened)) for opened in managers[:2]]
        # theirs are not renewed, so they have to live for the whole test
        joiner = Joiner(
            await stack.enter_async_context(manager(options(*three.urls, prefix=prefix))), 100
        )
        joining = await stack.enter_async_context(asyncio.TaskGroup())
        joining.create_task(joiner.run())
        for member in three.members:
            await joiner.joins(5)
            await asyncio.to_thread(getattr(member, how))
            await joiner.joins(5)
            await asyncio.to_thread(member.restart)
        await joiner.joins(5)
        joiner.stopped = True
        stored = lease_keys(three.control, prefix)
        held = [*joiner.leases, *(keeper.lease for keeper in keepers)]
        assert len({lease.subnets for lease in held}) == len(held) == len(stored)
        for keeper in keepers:
            assert keeper.status()["reacquisitions"] == 0
            await holds(keeper, three.control, prefix)
        for view in views:
            await view.agrees(three, prefix)
    await eventually(
        lambda: three.control.leases() == leases_in_use(three.control),
        "no etcd lease is left over",
        PATIENCE,
    )


def _rotated(urls: tuple[str, ...], by: int) -> tuple[str, ...]:
    by %= len(urls)
    return urls[by:] + urls[:by]


async def test_a_lost_leader_loses_no_event(three: Cluster, prefix: str) -> None:
    start = three.control.revision() + 1
    keys = f"{prefix}/written"
    async with recording(options(*three.urls), keys, start) as log:
        async with writing(three, keys) as writer:
            await writer.writes(50)
            leader = three.leader()
            await asyncio.to_thread(leader.kill)
            await writer.writes(50)
            await asyncio.to_thread(leader.restart)
            await writer.writes(50)
        await nothing_lost(log, three, keys)


async def test_a_paused_member_is_left(three: Cluster, prefix: str) -> None:
    """The member that a watch prefers falls silent: another one is asked within seconds."""
    here = options(*three.urls, prefix=prefix)
    async with manager(here, lease_ttl=60) as opened, viewing(opened) as view:
        paused = three.members[0]
        paused.pause()
        others = options(*three.urls[1:], prefix=prefix)
        async with manager(others, lease_ttl=60) as other:
            await _acquired(other, 7)
        await _agrees(view, three.members[1], prefix)
        assert (await opened.get_network_config()).backend_type == "vxlan"
        await _acquired(opened, 8)
        await _agrees(view, three.members[1], prefix)
        paused.resume()
        paused.wait_healthy()


async def _acquired(opened: EtcdSubnetManager, number: int) -> Lease:
    """A lease, where the cluster may be choosing its leader still."""
    while True:
        try:
            return await opened.acquire_lease(node(number))
        except StoreUnavailable:
            await asyncio.sleep(0.1)


async def _agrees(view: LeaseView, member: Member, prefix: str) -> None:
    def same() -> bool:
        stored = lease_keys(member.control, prefix)
        return view.revisions == {key: entry.mod_revision for key, entry in stored.items()}

    await eventually(same, "the view is what the other members hold", PATIENCE)


async def test_without_a_quorum_it_says_so_and_heals(three: Cluster, prefix: str) -> None:
    here = options(*three.urls, prefix=prefix, timeout=3.0)
    async with manager(here, lease_ttl=60) as opened, viewing(opened) as view:
        for member in three.members[1:]:
            await asyncio.to_thread(member.kill)
        with pytest.raises(StoreUnavailable, match="etcd"):
            await opened.acquire_lease(node(1))
        for member in three.members[1:]:
            await asyncio.to_thread(member.start)
        for member in three.members:
            await asyncio.to_thread(member.wait_healthy)
        await _acquired(opened, 1)
        await view.agrees(three, prefix)
    assert len(lease_keys(three.control, prefix)) == 1
    await eventually(
        lambda: three.control.leases() == leases_in_use(three.control),
        "no etcd lease is left over",
        PATIENCE,
    )
