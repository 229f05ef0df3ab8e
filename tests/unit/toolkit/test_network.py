"""KernelNetwork: from the feed's updates to the reconciler's, and how a run ends."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from flannel_sdk.dataplane import (
    Device,
    InterfaceAddress,
    Ownership,
    PeerObject,
    ResolvedRoute,
    Route,
)
from flannel_sdk.dataplane.observed import LinkState
from flannel_sdk.errors import KernelRefused, MalformedEntry, PrivilegeError, RetryableError
from flannel_sdk.interfaces import (
    BackendContext,
    Network,
    SupportsPlan,
    SupportsRetire,
    SupportsStatus,
)
from flannel_sdk.model import ByFamily, ExternalInterface, IPAddress, Lease, LeaseAttrs, Prefix
from flannel_sdk.testing.scripted import ScriptedFeed
from flannel_sdk.toolkit import DirectRoutes, KernelNetwork, KernelSession
from tests.unit.toolkit.recording import RecordingSessions

OWN_IP = IPAddress.parse("192.0.2.1")
CONTEXT = BackendContext(
    ExternalInterface("eth0", 2, 1500, ByFamily(OWN_IP), ByFamily(OWN_IP)), netns=None
)


def lease(number: int, backend_type: str = "test", data: str | None = None) -> Lease:
    return Lease(
        ByFamily(Prefix.parse(f"10.5.{number}.0/24")),
        LeaseAttrs(ByFamily(IPAddress.parse(f"192.0.2.{number}")), backend_type, ByFamily(data)),
    )


class RouteNetwork(KernelNetwork):
    backend_type = "test"

    def __init__(self) -> None:
        super().__init__(CONTEXT, lease(1), Ownership())

    def peer_objects(self, lease: Lease) -> Sequence[PeerObject]:
        if lease.attrs.backend_data.ipv4 == "bad":
            raise MalformedEntry("its data is bad")
        if lease.attrs.backend_data.ipv4 == "bug":
            raise IndexError("out of range")
        assert lease.subnets.ipv4 is not None
        return (Route(lease.subnets.ipv4, "eth0", lease.attrs.public_ips.ipv4),)


class DirectNetwork(RouteNetwork):
    follows_underlay = True

    def __init__(self) -> None:
        super().__init__()
        self.direct = DirectRoutes({"tunnel"})

    def peer_objects(self, lease: Lease) -> Sequence[PeerObject]:
        assert lease.subnets.ipv4 is not None
        assert lease.attrs.public_ips.ipv4 is not None
        device = self.direct.device(lease.attrs.public_ips.ipv4)
        return (Route(lease.subnets.ipv4, device or "tunnel", None),)

    async def look_up_underlay(self, session: KernelSession, leases: Sequence[Lease]) -> bool:  # type: ignore[override]  # narrower is enough here
        return await self.direct.look_up(session, leases)


@asynccontextmanager
async def running(network: KernelNetwork, feed: ScriptedFeed) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(network.run(feed))
    try:
        yield task
    finally:
        task.cancel()
        async with asyncio.timeout(1):
            await asyncio.gather(task, return_exceptions=True)


def test_is_a_network_that_plans_and_tells() -> None:
    network: Network = RouteNetwork()
    assert isinstance(network, SupportsPlan)
    assert isinstance(network, SupportsStatus)


def test_its_mtu_is_the_smallest_of_its_devices_or_the_interfaces() -> None:
    devices = ByFamily(Device("t4", "dummy", 1450, None), Device("t6", "dummy", 1430, None))
    assert KernelNetwork(CONTEXT, lease(1), Ownership(), devices=devices).mtu == 1430
    assert KernelNetwork(CONTEXT, lease(1), Ownership()).mtu == 1500
    assert KernelNetwork(CONTEXT, lease(1), Ownership(), devices=devices, mtu=1400).mtu == 1400


def test_its_devices_carry_the_base_address_of_the_subnet_of_their_family() -> None:
    devices = ByFamily(Device("t4", "dummy", 1450, None), Device("t6", "dummy", 1430, None))
    own = Lease(
        ByFamily(Prefix.parse("10.5.1.0/24"), Prefix.parse("fd00:5:1::/64")),
        LeaseAttrs(ByFamily(OWN_IP)),
    )
    network = KernelNetwork(CONTEXT, own, Ownership(), devices=devices)
    assert network.device_objects() == (
        devices.ipv4,
        devices.ipv6,
        InterfaceAddress("t4", Prefix.parse("10.5.1.0/32")),
        InterfaceAddress("t6", Prefix.parse("fd00:5:1::/128")),
    )


async def test_brings_full_and_partial_updates_to_the_reconciler(
    sessions: RecordingSessions,
) -> None:
    network, feed = RouteNetwork(), ScriptedFeed()
    kept = sessions.reconciler.peers
    async with running(network, feed):
        await feed.full([lease(2), lease(3)])
        assert set(kept) == {lease(2).subnets, lease(3).subnets}
        await feed.change([lease(4)], [lease(2).subnets])
        assert set(kept) == {lease(3).subnets, lease(4).subnets}
        await feed.full([lease(5)])
        assert kept == {
            lease(5).subnets: (
                Route(Prefix.parse("10.5.5.0/24"), "eth0", IPAddress.parse("192.0.2.5")),
            )
        }
        assert network.status()["peers"] == {"known": 1, "refused": {}}


async def test_a_refused_peer_has_no_objects_and_harms_no_other(
    sessions: RecordingSessions, caplog: pytest.LogCaptureFixture
) -> None:
    network, feed = RouteNetwork(), ScriptedFeed()
    kept = sessions.reconciler.peers
    async with running(network, feed):
        with caplog.at_level(logging.WARNING):
            await feed.full([lease(2, data="bad"), lease(3), lease(4, data="bad"), lease(5)])
        assert [len(kept[lease(number).subnets]) for number in (2, 3, 4, 5)] == [0, 1, 0, 1]
        assert network.status()["peers"] == {"known": 4, "refused": {"its data is bad": 2}}
        assert [record.getMessage() for record in caplog.records] == [
            "no traffic to 10.5.2.0/24: its data is bad"
        ]
        await feed.change([lease(2), lease(3, data="bad")], [lease(4).subnets])
        assert [len(kept[lease(number).subnets]) for number in (2, 3, 5)] == [1, 0, 1]
        assert network.status()["peers"] == {"known": 3, "refused": {"its data is bad": 1}}


async def test_peers_of_another_backend_are_refused_and_counted_by_type(
    sessions: RecordingSessions,
) -> None:
    network, feed = RouteNetwork(), ScriptedFeed()
    async with running(network, feed):
        await feed.full([lease(2, "vxlan"), lease(3, "vxlan"), lease(4, ""), lease(5)])
        assert sum(map(len, sessions.reconciler.peers.values())) == 1
        assert network.status()["peers"] == {
            "known": 4,
            "refused": {
                "its backend is 'vxlan', not 'test'": 2,
                "its backend is '', not 'test'": 1,
            },
        }


async def test_a_defect_that_one_entry_shows_costs_the_others_nothing(
    sessions: RecordingSessions, caplog: pytest.LogCaptureFixture
) -> None:
    network, feed = RouteNetwork(), ScriptedFeed()
    async with running(network, feed):
        await feed.full([lease(2, data="bug"), lease(3)])
        assert len(sessions.reconciler.peers[lease(3).subnets]) == 1
        assert "IndexError" in str(network.status()["peers"])
        assert caplog.records[0].exc_info is not None


async def test_the_log_does_not_grow_with_the_reasons(
    sessions: RecordingSessions, caplog: pytest.LogCaptureFixture
) -> None:
    network, feed = RouteNetwork(), ScriptedFeed()
    async with running(network, feed):
        await feed.full([lease(2, f"type {number}") for number in range(500)])
    assert 10 < len(caplog.records) <= 100


async def test_a_failure_is_raised_as_itself_and_the_run_can_be_repeated(
    sessions: RecordingSessions,
) -> None:
    network, feed = RouteNetwork(), ScriptedFeed()
    refused = KernelRefused("the kernel refused", 5)
    async with running(network, feed) as run:
        await feed.full([lease(2)])
        sessions.reconciler.failure.set_exception(refused)
        with pytest.raises(KernelRefused) as caught:
            await run
        assert caught.value is refused
    sessions.reconciler.failure = asyncio.get_running_loop().create_future()
    async with running(network, feed):
        await feed.full([lease(3)])
        assert set(sessions.reconciler.peers) == {lease(3).subnets}
    assert sessions.opened == sessions.closed == 2


async def test_of_two_failures_the_one_to_be_acted_on_wins(sessions: RecordingSessions) -> None:
    class FailingNetwork(RouteNetwork):
        async def _follow_peers(self, session: KernelSession, peers: object) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise PrivilegeError("CAP_NET_ADMIN is missing")

    async with running(FailingNetwork(), ScriptedFeed()) as run:
        sessions.reconciler.failure.set_exception(KernelRefused("the kernel refused", 5))
        with pytest.raises(PrivilegeError) as caught:
            await run
    assert caught.value.__notes__ == ["at the same time: KernelRefused: the kernel refused"]


async def test_cancelling_frees_the_session_and_is_no_error(sessions: RecordingSessions) -> None:
    network, feed = RouteNetwork(), ScriptedFeed()
    run = asyncio.create_task(network.run(feed))
    await feed.full([lease(2)])
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert sessions.closed == 1
    assert sessions.reconciler.peers


async def test_goes_on_when_the_feed_has_ended(sessions: RecordingSessions) -> None:
    network, feed = RouteNetwork(), ScriptedFeed()
    async with running(network, feed) as run:
        await feed.full([lease(2)])
        await feed.close()
        done, _ = await asyncio.wait([run], timeout=0.05)
        assert not done


async def test_plans_only_while_it_runs(sessions: RecordingSessions) -> None:
    network, feed = RouteNetwork(), ScriptedFeed()
    with pytest.raises(RetryableError, match="not running"):
        await network.plan()
    async with running(network, feed):
        await feed.full()
        assert [change.subject for change in await network.plan()] == ["10.5.2.0/24"]
        assert network.status()["written"] == 1


async def test_decides_again_when_the_underlay_changes(sessions: RecordingSessions) -> None:
    network, feed = DirectNetwork(), ScriptedFeed()
    reconciler, kernel = sessions.reconciler, sessions.kernel
    near, far = IPAddress.parse("192.0.2.2"), IPAddress.parse("192.0.2.3")
    kernel.ways = {
        near: ResolvedRoute("eth0", None, 1),
        far: ResolvedRoute("eth0", OWN_IP, 1),
    }

    def devices() -> list[str]:
        return [
            item.device
            for objects in reconciler.peers.values()
            for item in objects
            if isinstance(item, Route)
        ]

    async with running(network, feed):
        await feed.full([lease(2), lease(3)])
        assert devices() == ["eth0", "tunnel"]
        await feed.change([lease(4)])
        assert kernel.lookups == [{near, far}, {IPAddress.parse("192.0.2.4")}]
        kernel.ways = {
            near: ResolvedRoute("eth0", None, 2),
            far: ResolvedRoute("eth1", None, 1),
            IPAddress.parse("192.0.2.4"): ResolvedRoute("tunnel", None, 1),
        }
        await reconciler.change_underlay()
        assert devices() == ["tunnel", "eth1", "tunnel"]
        written = reconciler.updates
        await reconciler.change_underlay()
        assert len(kernel.lookups) == 4
        assert reconciler.updates == written


class DeviceNetwork(RouteNetwork):
    def __init__(self, *names: str) -> None:
        devices = [Device(name, "vxlan", 1450, None, None, ()) for name in names]
        KernelNetwork.__init__(self, CONTEXT, lease(1), Ownership(), devices=ByFamily(*devices))


@pytest.mark.parametrize(
    ("successor", "left"),
    [
        (DeviceNetwork("flannel.1", "flannel-v6.1"), {"flannel.1", "flannel-v6.1", "eth0"}),
        (DeviceNetwork("flannel.1"), {"flannel.1", "eth0"}),
        (DeviceNetwork("flannel.7"), {"eth0"}),
        (RouteNetwork(), {"eth0"}),
    ],
)
async def test_what_the_successor_does_not_have_is_removed(
    sessions: RecordingSessions, successor: Network, left: set[str]
) -> None:
    for number, name in enumerate(["flannel.1", "flannel-v6.1", "eth0"], start=1):
        kind = "" if name == "eth0" else "vxlan"
        sessions.kernel.links[name] = LinkState(
            number, name, kind, 1450, None, True, True, None, {}
        )
    network = DeviceNetwork("flannel.1", "flannel-v6.1")
    assert isinstance(network, SupportsRetire)
    await network.retire(successor)
    assert set(sessions.kernel.links) == left


async def test_a_device_that_somebody_else_made_under_the_name_stays(
    sessions: RecordingSessions,
) -> None:
    bridge = LinkState(1, "flannel.1", "bridge", 1500, None, True, True, None, {})
    sessions.kernel.links["flannel.1"] = bridge
    await DeviceNetwork("flannel.1", "flannel-v6.1").retire(RouteNetwork())
    assert sessions.kernel.links == {"flannel.1": bridge}
