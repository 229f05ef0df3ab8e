"""The small parts: ownership, ids, merged state, back-off and the limit on fights."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.dataplane import Device, FdbEntry, KernelObject, Neighbour, Ownership, Route
from flannel_sdk.dataplane.backoff import Backoff
from flannel_sdk.dataplane.desired import Changes, DesiredState, Key, RouteKey
from flannel_sdk.dataplane.fights import Fights
from flannel_sdk.dataplane.nexthop_ids import NexthopIds
from flannel_sdk.dataplane.requests import Via
from flannel_sdk.model import IPAddress, MacAddress, Prefix

MAC = MacAddress.parse("02:00:00:00:00:01")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_ids_are_the_same_after_a_restart_and_differ_between_networks() -> None:
    one = Ownership(frozenset({"a", "b"}), (Prefix.parse("10.0.0.0/8"),))
    again = Ownership(frozenset({"b", "a"}), (Prefix.parse("10.0.0.0/8"),))
    assert one.nexthop_ids() == again.nexthop_ids()
    assert not set(one.nexthop_ids()) & set(Ownership(frozenset({"c"})).nexthop_ids())
    assert 0x40000000 <= one.nexthop_ids().start < one.nexthop_ids().stop <= 0x80000000


def test_ownership_covers_destinations_inside_its_networks() -> None:
    ownership = Ownership(networks=(Prefix.parse("10.0.0.0/8"), Prefix.parse("fd00::/16")))
    assert ownership.covers(*Prefix.parse("10.1.2.0/24"))
    assert ownership.covers(*Prefix.parse("fd00:1::/64"))
    assert not ownership.covers(*Prefix.parse("0.0.0.0/0"))
    assert not ownership.covers(*Prefix.parse("172.16.0.0/12"))


def test_ids_avoid_what_others_took_and_wrap_around() -> None:
    ids = NexthopIds(range(10, 14))
    ids.foreign.add(11)
    keys = [(bytes([10, 0, n, 0]), 24) for n in range(3)]
    assert [ids.take(key) for key in keys] == [10, 12, 13]
    assert ids.take(keys[1]) == 12
    assert ids.release(keys[0]) == 10
    assert ids.take((b"\x0a\x09\x00\x00", 24)) == 10
    assert ids.lose(13) == keys[2]
    assert ids.release(keys[2]) is None


def test_adopted_ids_are_kept() -> None:
    ids = NexthopIds(range(10, 100))
    key, plain = (b"\x0a\0\0\0", 24), (b"\x0b\0\0\0", 24)
    via = Via(3, b"\x0a\0\0\0", True)
    ids.adopt({key: 40, plain: via}, {40: via, 50: via})
    assert ids.take(key) == 40
    assert ids.take(plain) == 51


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
