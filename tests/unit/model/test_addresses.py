"""Addresses and prefixes against the standard library."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.model import Family, IPAddress, MacAddress, Prefix
from tests.unit.model.strategies import FAMILIES, addresses


@given(FAMILIES.flatmap(addresses))
def test_text_and_number_round_trip(address: IPAddress) -> None:
    assert IPAddress.parse(str(address)) == address
    assert IPAddress.from_int(address.to_int(), address.family) == address
    assert ipaddress.ip_address(str(address)) == address.to_ipaddress()


@given(addresses(Family.IPV6))
def test_ipv6_text_is_rfc_5952(address: IPAddress) -> None:
    groups = ":".join(f"{address[i] << 8 | address[i + 1]:x}" for i in range(0, 16, 2))
    assert "." not in str(address)
    assert str(address) == str(address).lower()
    assert IPAddress.parse(groups) == address
    assert len(str(address)) <= len(groups)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::ffff:1.2.3.4", "::ffff:102:304"),
        ("::1.2.3.4", "::102:304"),
        ("::FFFF:0.1.0.2", "::ffff:1:2"),
        ("FC00:0:0:0007::", "fc00:0:0:7::"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
        ("::", "::"),
    ],
)
def test_d40_ipv6_text_is_never_taken_for_ipv4(text: str, shown: str) -> None:
    assert str(IPAddress.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2.3",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.4 ",
        "1.2.3.4\0",
        "fe80::1%lo",
        "::1::",
        "\ud800",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        IPAddress.parse(text)


@pytest.mark.parametrize(
    "text", ["c6:d2:32:6f:8f:44", "C6-D2-32-6F-8F-44", "c6d2.326f.8f44", "C6d2.326F.8f44"]
)
def test_mac_notations(text: str) -> None:
    assert str(MacAddress.parse(text)) == "c6:d2:32:6f:8f:44"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c6d2326f8f44",
        "c6:d2-32:6f:8f:44",
        "c6:d23:2:6f:8f:44",
        "c6:d2:32:6f:8f:4g",
        "c6:d2:32:6f:8f:44:00:00",
        "c6d2.326f:8f44",
        " c6:d2:32:6f:8f:44",
        "\u06636:d2:32:6f:8f:44",
    ],
)
def test_what_is_no_mac_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a MAC address"):
        MacAddress.parse(text)


@given(st.data())
def test_prefix_arithmetic_is_that_of_ipaddress(data: st.DataObject) -> None:
    family = data.draw(FAMILIES)
    one, two = (
        Prefix(data.draw(addresses(family)), data.draw(st.integers(0, family.bits)))
        for _ in range(2)
    )
    nets = [ipaddress.ip_network(str(prefix), strict=False) for prefix in (one, two)]
    assert str(one.masked()) == str(nets[0])
    assert one.overlaps(two) == nets[0].overlaps(nets[1])
    assert one.covers(two) == (
        int(nets[0][0]) <= int(nets[1][0]) <= int(nets[1][-1]) <= int(nets[0][-1])
    )
    assert one.is_network == (one.masked() == one)
    assert Prefix.parse(str(one)) == one
    assert one.host(0).to_int() == int(nets[0].network_address)


@pytest.mark.parametrize(
    "text", ["10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "/8"]
)
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Prefix.parse(text)
