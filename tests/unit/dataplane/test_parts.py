"""The small parts: ownership, metrics, rivals, merged state, back-off and the limit on fights."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.dataplane import Device, FdbEntry, KernelObject, Neighbour, Ownership, Route
from flannel_sdk.dataplane.backoff import Backoff
from flannel_sdk.dataplane.desired import Changes, DesiredState, Key, RouteKey
from flannel_sdk.dataplane.fights import Fights
from flannel_sdk.dataplane.metrics import metric_of, route_metric
from flannel_sdk.dataplane.requests import StrayRoute
from flannel_sdk.dataplane.rivals import Rivals, in_the_way
from flannel_sdk.model import ByFamily, IPAddress, MacAddress, Prefix

MAC = MacAddress.parse("02:00:00:00:00:01")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_ownership_covers_destinations_inside_its_networks() -> None:
    ownership = Ownership(networks=(Prefix.parse("10.0.0.0/8"), Prefix.parse("fd00::/16")))
    assert ownership.covers(*Prefix.parse("10.1.2.0/24"))
    assert ownership.covers(*Prefix.parse("fd00:1::/64"))
    assert not ownership.covers(*Prefix.parse("0.0.0.0/0"))
    assert not ownership.covers(*Prefix.parse("172.16.0.0/12"))


def test_the_subnets_of_a_network_have_a_metric_each() -> None:
    for network, length, bits in (
        ("10.0.0.0", 24, 16),
        ("10.5.0.0", 28, 12),
        ("172.16.0.0", 26, 14),
    ):
        first = int.from_bytes(IPAddress.parse(network), "big")
        step = 1 << 32 - length
        metrics = {
            metric_of((first + n * step).to_bytes(4, "big"), length) for n in range(1 << bits)
        }
        assert len(metrics) == 1 << bits
        assert min(metrics) >= 1
        assert max(metrics) <= 65536


def test_metrics_are_spread_where_there_are_more_subnets_than_metrics() -> None:
    counts = Counter(metric_of((n << 6).to_bytes(4, "big"), 26) for n in range(0, 1 << 26, 101))
    assert max(counts.values()) < 30  # 664,000 in 65,536


def test_only_ipv4_routes_with_a_gateway_have_a_metric() -> None:
    four, six = Prefix.parse("10.0.1.0/24"), Prefix.parse("fd00::/64")
    assert route_metric(Route(four, "d", four.address)) == metric_of(four.address, 24)
    assert route_metric(Route(four, "d", None)) == 0
    assert route_metric(Route(six, "d", six.address, True)) == 0


def rival(protocol: int, metric: int, ifindex: int = 2) -> StrayRoute:
    return StrayRoute(bytes([10, 0, 1, 0]), 24, protocol, metric, ifindex=ifindex)


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (rival(3, 0), True),
        (rival(4, 7), True),
        (rival(4, 8), False),
        (rival(4, 8, ifindex=9), True),
        (rival(102, 8), True),
        (rival(102, 0), True),
        (rival(102, 7), False),
        (rival(2, 0), False),
        (rival(3, 0)._replace(tos=4), False),
        (rival(3, 0)._replace(table=100), False),
    ],
)
def test_what_is_in_the_way_of_a_route_of_metric_7(route: StrayRoute, expected: bool) -> None:
    assert in_the_way(route, 7, {9}) is expected


@pytest.mark.parametrize(("metric", "expected"), [(512, True), (0, True), (2000, False)])
def test_the_default_metric_of_ipv6_is_1024(metric: int, expected: bool) -> None:
    route = StrayRoute(Prefix.parse("fd00::/64").address, 64, 3, metric)
    assert in_the_way(route, 0, ()) is expected


def test_rivals_come_and_go() -> None:
    rivals = Rivals()
    key = bytes([10, 0, 1, 0]), 24
    rivals.add([rival(3, 5), rival(3, 0), rival(4, 50), rival(2, 0)])
    assert rivals.of(key, 7, ()) == [rival(3, 0), rival(3, 5)]
    rivals.note(rival(3, 0), present=False)
    rivals.note(rival(3, 0), present=False)
    assert rivals.of(key, 7, ()) == [rival(3, 5)]
    rivals.clear()
    assert rivals.of(key, 7, ()) == []


def entry(destination: int) -> tuple[KernelObject, ...]:
    return (FdbEntry("d", MAC, IPAddress(bytes([192, 0, 2, destination]))),)


def test_the_first_claim_wins_and_the_next_inherits() -> None:
    desired = DesiredState()
    desired.absorb(iter([("a", entry(1)), ("b", entry(2)), ("c", entry(3))]), 10)
    assert desired.conflicts == 2
    assert desired.fdb["d"].rows == {MAC: bytes([192, 0, 2, 1])}
    changes = Changes()
    desired.drop("b", changes)
    desired.drop("a", changes)
    assert changes.fdb == {"d": [(MAC, bytes([192, 0, 2, 3]))]}
    assert desired.waiting == {}
    desired.drop("c", changes)
    assert desired.take_released() == list(entry(3))
    assert desired.take_released() == []


def test_a_key_that_moves_to_another_peer_is_not_removed() -> None:
    desired = DesiredState()
    desired.absorb(iter([("a", entry(1))]), 10)
    desired.absorb(iter([("a", ()), ("b", entry(2))]), 10)
    assert desired.take_released() == []
    assert desired.fdb["d"].rows == {MAC: bytes([192, 0, 2, 2])}


def test_a_route_that_loses_its_gateway_gives_up_its_old_place() -> None:
    desired = DesiredState()
    prefix = Prefix.parse("10.0.1.0/24")
    before, after = Route(prefix, "d", prefix.address), Route(prefix, "e", None)
    desired.absorb(iter([("a", (before,))]), 10)
    changes = desired.absorb(iter([("a", (after,))]), 10)
    assert changes.routes == changes.moved == [after]
    assert desired.take_released() == [before]
    desired.absorb(iter([("a", (before,))]), 10)
    desired.absorb(iter([("a", (after,))]), 10)
    desired.absorb(iter([("a", (before,))]), 10)
    assert desired.take_released() == [after]


def test_a_device_is_no_object_of_a_peer() -> None:
    with pytest.raises(TypeError, match="belongs to the node"):
        DesiredState().absorb(iter([("a", (Device("d", "vxlan", 1450, None),))]), 10)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=4),
        )
    )
)
def test_merged_rows_are_what_some_peer_wants(
    updates: list[tuple[int, list[tuple[int, int]]]],
) -> None:
    desired = DesiredState()
    told: dict[int, tuple[KernelObject, ...]] = {}
    for peer, pairs in updates:
        objects = tuple(
            Neighbour("d", IPAddress(bytes([10, 0, 0, a])), MacAddress(bytes([2, 0, 0, 0, 0, m])))
            for a, m in dict(pairs).items()
        )
        told[peer] = objects
        desired.absorb(iter([(peer, objects)]), 1)
    wanted: dict[bytes, set[bytes]] = {}
    for mine in told.values():
        for item in mine:
            assert isinstance(item, Neighbour)
            wanted.setdefault(item.address, set()).add(item.mac)
    rows = desired.neighbours["d"].rows if "d" in desired.neighbours else {}
    assert rows.keys() == wanted.keys()
    assert all(rows[address] in macs for address, macs in wanted.items())
    for peer in told:
        desired.drop(peer, Changes())
    assert not any(table.rows or table.owners for table in desired.neighbours.values())
    assert desired.waiting == {}


def test_a_route_is_found_by_its_key() -> None:
    desired = DesiredState()
    route = Route(Prefix.parse("10.0.1.0/24"), "d", None)
    desired.absorb(iter([("a", (route,))]), 1)
    assert desired.find(RouteKey(*route.destination)) == route
    assert desired.counts() == {"neighbour": 0, "fdb": 0, "route": 1}


def test_back_off_doubles_and_ends() -> None:
    clock = Clock()
    backoff: Backoff[str] = Backoff(clock, first=1.0, longest=4.0)
    delays = []
    assert backoff.next() is None
    for _ in range(5):
        backoff.failed("key", "busy")
        due = backoff.next()
        assert due is not None
        delays.append(due - clock.now)
    for delay, expected in zip(delays, (1, 2, 4, 4, 4), strict=True):
        assert 0.75 * expected <= delay <= 1.25 * expected
    assert backoff.due() == []
    clock.now += 10
    assert backoff.due() == ["key"]
    assert backoff.reasons() == {"busy": 1}
    assert not backoff.failed("key", "busy")
    assert backoff.failed("key", "gone")
    backoff.succeeded("key")
    assert backoff.due() == []


def test_fights_are_limited_key_by_key() -> None:
    clock = Clock()
    fights = Fights(clock)
    thief, other = RouteKey(b"\1\2\3\4", 24), RouteKey(b"\1\2\3\5", 24)
    for _ in range(3):
        assert fights.admit([thief]) == [thief]
    allowed: list[list[Key]] = [fights.admit([thief, other])]
    assert allowed == [[other]]
    assert fights.suppressed == 1
    assert fights.due() == []
    clock.now += 0.11
    assert fights.due() == [thief]
    assert fights.admit(fights.due()) == [thief]
    clock.now += 60
    fights.forget_old()
    assert fights.admit([thief]) == [thief]


def test_a_conflict_is_said_in_a_sentence_with_both_peers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mac = MacAddress.parse("02:00:00:00:00:07")
    desired = DesiredState()
    peers = [
        (
            ByFamily(Prefix.parse(f"10.5.{number}.0/24")),
            (FdbEntry("flannel.1", mac, IPAddress.parse(f"192.0.2.{number}")),),
        )
        for number in (1, 2)
    ]
    desired.absorb(iter(peers), 10)
    assert caplog.messages == [
        (
            "the peers 10.5.1.0/24 and 10.5.2.0/24 both want the FDB entry of 02:00:00:00:00:07"
            " on flannel.1; the first keeps it until it goes"
        )
    ]
