"""DirectRoutes: one way, no gateway, and not through ourselves; what changed is told."""

from collections.abc import Sequence

import pytest

from flannel_sdk.dataplane import ResolvedRoute
from flannel_sdk.model import ByFamily, IPAddress, Lease, LeaseAttrs, Prefix
from flannel_sdk.toolkit import DirectRoutes, KernelSession
from tests.unit.toolkit.recording import RecordingSessions

GATEWAY = IPAddress.parse("192.0.2.254")
DIRECT = ResolvedRoute("eth0", None, 1)


def ip(number: int) -> IPAddress:
    return IPAddress.parse(f"192.0.2.{number}")


def peers(*numbers: int) -> Sequence[Lease]:
    return [
        Lease(ByFamily(Prefix.parse(f"10.5.{n}.0/24")), LeaseAttrs(ByFamily(ip(n))))
        for n in numbers
    ]


@pytest.fixture
async def session(sessions: RecordingSessions) -> KernelSession:
    return KernelSession(sessions.kernel, sessions.reconciler)


@pytest.mark.parametrize(
    "route",
    [
        DIRECT._replace(gateway=GATEWAY),
        DIRECT._replace(nexthops=2),
        DIRECT._replace(device="lo"),
        DIRECT._replace(device="flannel.1"),
        None,
    ],
    ids=["gateway", "several ways", "this node", "our own tunnel", "no route"],
)
async def test_anything_but_one_plain_link_needs_the_tunnel(
    session: KernelSession, sessions: RecordingSessions, route: ResolvedRoute | None
) -> None:
    sessions.kernel.ways = {ip(1): DIRECT} | ({ip(2): route} if route else {})
    direct = DirectRoutes({"flannel.1"})
    assert await direct.look_up(session, peers(1, 2))
    assert (direct.device(ip(1)), direct.device(ip(2))) == ("eth0", None)


async def test_each_public_ip_of_both_families_is_asked_for_once(
    session: KernelSession, sessions: RecordingSessions
) -> None:
    six = IPAddress.parse("2001:db8::1")
    attrs = LeaseAttrs(ByFamily(ip(1), six))
    twins = [Lease(ByFamily(Prefix.parse(f"10.5.{n}.0/24")), attrs) for n in (1, 2)]
    sessions.kernel.ways = {six: DIRECT}
    direct = DirectRoutes(())
    await direct.look_up(session, twins)
    assert sessions.kernel.lookups == [{ip(1), six}]
    assert direct.device(six) == "eth0"


async def test_tells_whether_an_answer_differs(
    session: KernelSession, sessions: RecordingSessions
) -> None:
    direct = DirectRoutes(())
    assert not await direct.look_up(session, peers(1, 2))
    sessions.kernel.ways = {ip(1): DIRECT, ip(2): DIRECT}
    assert await direct.look_up(session, peers(1, 2))
    assert not await direct.look_up(session, peers(1, 2))
    sessions.kernel.ways[ip(1)] = DIRECT._replace(device="eth1")
    assert await direct.look_up(session, peers(1, 2))
    assert direct.device(ip(1)) == "eth1"
    del sessions.kernel.ways[ip(1)]
    assert await direct.look_up(session, peers(1, 2))
    assert direct.device(ip(1)) is None


async def test_what_is_not_asked_about_stays_known(
    session: KernelSession, sessions: RecordingSessions
) -> None:
    sessions.kernel.ways = {ip(1): DIRECT, ip(2): DIRECT}
    direct = DirectRoutes(())
    await direct.look_up(session, peers(1, 2))
    sessions.kernel.ways = {}
    assert await direct.look_up(session, peers(2))
    assert (direct.device(ip(1)), direct.device(ip(2))) == ("eth0", None)
