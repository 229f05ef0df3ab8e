"""Subnet keys: flannel's text, anchored on both sides, one name for each subnet (4.1, D39)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.model import ByFamily, Prefix, Subnets, format_subnet_key, parse_subnet_key
from tests.unit.model.strategies import subnets


@pytest.mark.parametrize(
    ("text", "ipv4", "ipv6"),
    [
        ("10.5.34.0-24", "10.5.34.0/24", None),
        ("10.5.34.0-24&fc00:0:0:7::-64", "10.5.34.0/24", "fc00:0:0:7::/64"),
        ("0.0.0.0-0&fc00:0:0:7::-64", None, "fc00:0:0:7::/64"),
        ("10.5.34.7-32", "10.5.34.7/32", None),
        ("10.5.34.7-32&fc00::1-128", "10.5.34.7/32", "fc00::1/128"),
        ("0.0.0.0-8", "0.0.0.0/8", None),
    ],
)
def test_both_ways(text: str, ipv4: str | None, ipv6: str | None) -> None:
    expected = ByFamily(
        None if ipv4 is None else Prefix.parse(ipv4), None if ipv6 is None else Prefix.parse(ipv6)
    )
    assert parse_subnet_key(text) == expected
    assert format_subnet_key(expected) == text


@given(subnets())
def test_round_trip(value: Subnets) -> None:
    assert parse_subnet_key(format_subnet_key(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.12.13.300-24",
        "10.12.13.0-24hi",
        "hi10.12.13.0-24",
        "10.12.13.0-24\n",
        "10.12.13.0-24&2001-56",
        "&2001::-56",
        "0.0.0.0-0",
        "0.0.0.0-0&",
        "10.12.13.0-33",
        "10.12.13.0-024",
        "10.12.13.1-24",
        "10.12.013.0-24",
        "10a12b13c0-24",
        "10.12.13.0/24",
        "10.12.13.0-24&fc00::-129",
        "10.12.13.0-24&FC00::-64",
        "10.12.13.0-24&fc00:0::-64",
        "10.12.13.0-24&fc00::1-64",
        "10.12.13.0-24&::ffff:1.2.3.4-128",
        "10.12.13.0-24&::-0",
        "10.0.0.0-0&fc00::-64",
        "\u06610.12.13.0-24",
    ],
)
def test_d39_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(MalformedEntry):
        parse_subnet_key(text)


@given(st.text(alphabet="0123456789.-&:abcdef\n ", max_size=40))
def test_what_parses_is_what_would_be_written(text: str) -> None:
    try:
        value = parse_subnet_key(text)
    except MalformedEntry:
        return
    assert format_subnet_key(value) == text


@pytest.mark.parametrize(
    "value",
    [ByFamily(), ByFamily(Prefix.parse("10.0.0.1/24")), ByFamily(Prefix.parse("0.0.0.0/0"))],
)
def test_what_is_no_lease_has_no_key(value: Subnets) -> None:
    with pytest.raises(ValueError, match=r"."):
        format_subnet_key(value)
