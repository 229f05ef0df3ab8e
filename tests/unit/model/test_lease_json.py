"""Lease attributes byte for byte, and every form that a reader has to bear (flannel 3.1)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.model import ByFamily, IPAddress, LeaseAttrs, decode_attrs, encode_attrs
from tests.unit.model.strategies import attrs

IP4, IP6 = IPAddress.parse("192.168.64.3"), IPAddress.parse("fd00::3")
VXLAN_DATA = '{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}'

FIXTURES = [
    (
        LeaseAttrs(ByFamily(IP4), "vxlan", ByFamily(VXLAN_DATA)),
        (
            b'{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan",'
            b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
        ),
    ),
    (
        LeaseAttrs(ByFamily(IP4, IP6), "vxlan", ByFamily(VXLAN_DATA, VXLAN_DATA)),
        (
            b'{"PublicIP":"192.168.64.3","PublicIPv6":"fd00::3","BackendType":"vxlan",'
            b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},'
            b'"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
        ),
    ),
    (
        LeaseAttrs(ByFamily(None, IP6), "vxlan", ByFamily(None, VXLAN_DATA)),
        (
            b'{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::3","BackendType":"vxlan",'
            b'"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
        ),
    ),
    (
        LeaseAttrs(ByFamily(IP4), "host-gw"),
        b'{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"host-gw"}',
    ),
    (LeaseAttrs(ByFamily(IP4)), b'{"PublicIP":"192.168.64.3","PublicIPv6":null}'),
]


@pytest.mark.parametrize(("value", "text"), FIXTURES)
def test_both_ways_byte_for_byte(value: LeaseAttrs, text: bytes) -> None:
    assert encode_attrs(value) == text
    assert decode_attrs(text) == value


def test_strings_and_raw_data_are_escaped_as_go_does() -> None:
    value = LeaseAttrs(
        ByFamily(IP4), "<ü\u2028&>\b\f\x7f\n", ByFamily('{ "a" : "<b c>" ,\n"d":1.0 }')
    )
    assert encode_attrs(value) == (
        b'{"PublicIP":"192.168.64.3","PublicIPv6":null,'
        b'"BackendType":"\\u003c\xc3\xbc\\u2028\\u0026\\u003e\\u0008\\u000c\x7f\\n",'
        b'"BackendData":{"a":"\\u003cb c\\u003e","d":1.0}}'
    )


@pytest.mark.parametrize("data", ["", "{", "{} {}", "NaN", "'a'"])
def test_backend_data_that_is_not_json_is_not_written(data: str) -> None:
    with pytest.raises(MalformedEntry, match="BackendData that a backend publishes"):
        encode_attrs(LeaseAttrs(ByFamily(IP4), "x", ByFamily(data)))


@given(attrs())
def test_round_trip(value: LeaseAttrs) -> None:
    encoded = encode_attrs(value)
    json.loads(encoded)
    assert decode_attrs(encoded).public_ips == value.public_ips
    assert decode_attrs(encoded).backend_type == value.backend_type
    assert encode_attrs(decode_attrs(encoded)) == encoded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"PublicIP":"192.168.64.3"}', LeaseAttrs(ByFamily(IP4))),
        (
            '{"PublicIP":"192.168.64.3","BackendType":"vxlan","BackendData":{"VtepMAC":"c6"}}',
            LeaseAttrs(ByFamily(IP4), "vxlan", ByFamily('{"VtepMAC":"c6"}')),
        ),
        ('{"publicip":"192.168.64.3","BACKENDTYPE":"x"}', LeaseAttrs(ByFamily(IP4), "x")),
        ('{"PublicIP":"::ffff:192.168.64.3"}', LeaseAttrs(ByFamily(IP4))),
        ('{"PublicIP":"1.1.1.1","PublicIP":"192.168.64.3"}', LeaseAttrs(ByFamily(IP4))),
        (' {\t"PublicIP" :\n"192.168.64.3" , "New": {"a":[1]} } ', LeaseAttrs(ByFamily(IP4))),
        ('{"PublicIP":"192.168.64.3","BackendType":null}', LeaseAttrs(ByFamily(IP4))),
        ('{"PublicIP":"192.168.64.3","BackendData":null}', LeaseAttrs(ByFamily(IP4))),
        (
            '{"PublicIP":"192.168.64.3","BackendData":{ "a" : "b c" , "n": 1.0 }}',
            LeaseAttrs(ByFamily(IP4), "", ByFamily('{"a":"b c","n":1.0}')),
        ),
        ('{"PublicIP":"0.0.0.0","PublicIPv6":"FD00::0003"}', LeaseAttrs(ByFamily(None, IP6))),
        ('{"PublicIPv6":"::"}', LeaseAttrs(ByFamily())),
        (
            '{"PublicIPv6":"1.2.3.4"}',
            LeaseAttrs(ByFamily(None, IPAddress.parse("::ffff:1.2.3.4"))),
        ),
        ("{}", LeaseAttrs(ByFamily())),
    ],
)
def test_forms_that_are_read(text: str, expected: LeaseAttrs) -> None:
    assert decode_attrs(text.encode()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        '{"PublicIP":"1.2.3.4"',
        '{"PublicIP":"1.2.3.4"}x',
        '{"PublicIP":"1.2.3.4",}',
        '{"PublicIP" "1.2.3.4"}',
        '{PublicIP:"1.2.3.4"}',
        '{"PublicIP":null}',
        '{"PublicIP":""}',
        '{"PublicIP":"1.2.3"}',
        '{"PublicIP":"01.2.3.4"}',
        '{"PublicIP":"fd00::3"}',
        '{"PublicIP":16909060}',
        '{"PublicIPv6":"nonsense"}',
        '{"PublicIPv6":5}',
        '{"PublicIP":"1.2.3.4","BackendType":5}',
        '{"PublicIP":"1.2.3.4","BackendData":{}}}',
        '{"PublicIP":"1.2.3.4","BackendData":}',
        '{"PublicIP":"1.2.3.4","BackendData":' + "[" * 100_000,
        '{"PublicIP":"1.2.3.4","BackendData":' + "9" * 5000 + "}",
    ],
)
def test_what_is_malformed_is_said(text: str) -> None:
    with pytest.raises(MalformedEntry) as caught:
        decode_attrs(text.encode())
    assert str(caught.value).startswith("The value is not what a node publishes")


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:PublicIP0.n\\ ').map(str.encode))
def test_any_bytes_are_read_or_malformed(value: bytes) -> None:
    try:
        found = decode_attrs(value)
    except MalformedEntry:
        return
    assert decode_attrs(encode_attrs(found)) == found
