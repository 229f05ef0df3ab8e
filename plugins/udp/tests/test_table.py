"""Longest-prefix lookup, and that a table is never changed under its readers."""

import ipaddress

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
    assert table.sources == {"192.0.2.1", "192.0.2.2"}


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


def test_an_update_makes_another_table() -> None:
    first = Table({WIDE: ONE}, 1)
    second = first.updated({NARROW: TWO}, [WIDE], full=False)
    assert first.find(number("10.5.0.1"))
    assert second.find(number("10.5.0.1")) is None
    assert second.find(number("10.5.7.1"))
    assert second.sources == {"192.0.2.2"}
    assert second.updated({WIDE: ONE}, [], full=True).find(number("10.5.7.1")) == ("192.0.2.1", 1)


def test_an_update_that_says_nothing_new_keeps_the_table() -> None:
    table = Table({WIDE: ONE}, 1)
    assert table.updated({WIDE: ONE}, [NARROW], full=False) is table
    assert table.updated({WIDE: ONE}, [], full=True) is table
