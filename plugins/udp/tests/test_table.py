"""Longest-prefix lookup, and that a table is never changed under its readers."""

import ipaddress
import time
from collections.abc import Callable

from flannel_sdk_udp.userspace.table import Table
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.model import Family, IPAddress, Prefix

ONE, TWO = IPAddress.parse("192.0.2.1"), IPAddress.parse("192.0.2.2")
WIDE, NARROW = Prefix.parse("10.5.0.0/16"), Prefix.parse("10.5.7.0/24")


def number(address: str) -> int:
    return IPAddress.parse(address).to_int()


def prefix(value: int, length: int) -> Prefix:
    return Prefix(IPAddress.from_int(value, Family.IPV4), length).masked()


prefixes = st.builds(prefix, st.integers(0, 2**32 - 1), st.integers(0, 32))


def test_an_empty_table_finds_nothing() -> None:
    assert Table({}, 8285).find(1) is None


def test_the_longest_prefix_wins() -> None:
    table = Table({WIDE: ONE, NARROW: TWO}, 99)
    assert table.find(number("10.5.7.255")) == ("192.0.2.2", 99)
    assert table.find(number("10.5.8.0")) == ("192.0.2.1", 99)
    assert table.find(number("10.6.0.0")) is None
    assert set(table.sources) == {"192.0.2.1", "192.0.2.2"}


@given(st.lists(prefixes, max_size=20), st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_it_finds_what_the_standard_library_finds(
    subnets: list[Prefix], address: int, near: int
) -> None:
    peers = {subnet: IPAddress.from_int(n, Family.IPV4) for n, subnet in enumerate(subnets)}
    if subnets:
        address = subnets[near % len(subnets)].first ^ (address & 0xFF)
    covering = [
        (network.prefixlen, peer)
        for subnet, peer in peers.items()
        if ipaddress.IPv4Address(address) in (network := ipaddress.ip_network(str(subnet)))
    ]
    expected = (str(max(covering)[1]), 1) if covering else None
    assert Table(peers, 1).find(address) == expected


hosts = st.sampled_from([ONE, TWO])
few = st.builds(prefix, st.integers(0, 3).map(lambda n: n << 24), st.sampled_from([0, 7, 8]))


@given(st.lists(st.tuples(st.dictionaries(few, hosts), st.sets(few)), max_size=5))
def test_changes_one_after_another_end_in_the_same_table(
    steps: list[tuple[dict[Prefix, IPAddress], set[Prefix]]],
) -> None:
    table, peers = Table({}, 1), dict[Prefix, IPAddress]()
    for changed, removed in steps:
        before, was = table, [table.find(n << 24) for n in range(5)]
        table = table.updated(changed, removed, full=False)
        peers = {subnet: at for subnet, at in peers.items() if subnet not in removed} | changed
        whole = Table(peers, 1)
        assert [table.find(n << 24) for n in range(5)] == [whole.find(n << 24) for n in range(5)]
        assert table.sources == whole.sources
        assert [before.find(n << 24) for n in range(5)] == was


def test_one_peer_more_costs_far_less_than_all() -> None:
    """Threads wait meanwhile."""
    peers = {prefix(n << 8, 24): IPAddress.from_int(n, Family.IPV4) for n in range(10_000)}

    def seconds(work: Callable[[], object]) -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    table = Table(peers, 1)
    whole = min(seconds(lambda: Table(peers, 1)) for _ in range(5))
    more = min(seconds(lambda: table.updated({WIDE: ONE}, [], full=False)) for _ in range(5))
    assert more < whole / 4


def test_an_update_makes_another_table() -> None:
    first = Table({WIDE: ONE}, 1)
    second = first.updated({NARROW: TWO}, [WIDE], full=False)
    assert first.find(number("10.5.0.1"))
    assert second.find(number("10.5.0.1")) is None
    assert second.find(number("10.5.7.1"))
    assert set(second.sources) == {"192.0.2.2"}
    assert second.updated({WIDE: ONE}, [], full=True).find(number("10.5.7.1")) == ("192.0.2.1", 1)


def test_an_update_that_says_nothing_new_keeps_the_table() -> None:
    table = Table({WIDE: ONE}, 1)
    assert table.updated({WIDE: ONE}, [NARROW], full=False) is table
    assert table.updated({WIDE: ONE}, [], full=True) is table
