"""Endpoints as people write them."""

import pytest
from flannel_sdk_etcd.endpoints import Endpoint, parse_endpoints
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://10.0.0.1:2379", Endpoint("10.0.0.1", 2379, False)),
        ("https://10.0.0.1:2379/", Endpoint("10.0.0.1", 2379, True)),
        ("HTTPS://Etcd.Test:4001", Endpoint("etcd.test", 4001, True)),
        ("http://etcd-0.etcd.svc", Endpoint("etcd-0.etcd.svc", 2379, False)),
        ("http://[fd00::1]:1", Endpoint("fd00::1", 1, False)),
        ("http://[FD00:0::1]", Endpoint("fd00::1", 2379, False)),
        ("10.0.0.1:1", Endpoint("10.0.0.1", 1, False)),
        (" a:1 ", Endpoint("a", 1, False)),
    ],
)
def test_read(text: str, expected: Endpoint) -> None:
    assert parse_endpoints("endpoints", [text], has_tls_files=False) == (expected,)
    assert parse_endpoints("endpoints", [str(expected)], has_tls_files=False) == (expected,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "http://:1",
        "http://a:",
        "http://a:0",
        "http://a:65536",
        "http://a:\N{ARABIC-INDIC DIGIT ONE}",
        "http://a:1/path",
        "http://a:1?x=y",
        "http://fd00::1",
        "http://[fd00::x]:1",
        "http://[fe80::1%eth0]:1",
        "unix:///run/etcd.sock",
        "a b:1",
        "a:1:2",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_endpoints("endpoints", [text], has_tls_files=False)
    assert refused.value.key == "endpoints"


def test_none_at_all() -> None:
    with pytest.raises(ConfigError):
        parse_endpoints("endpoints", [], has_tls_files=False)


def test_each_once_in_order() -> None:
    texts = ["b:1", "a:1", "http://b:1/"]
    found = parse_endpoints("endpoints", texts, has_tls_files=False)
    assert [endpoint.host for endpoint in found] == ["b", "a"]


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        (endpoint,) = parse_endpoints("endpoints", [text], has_tls_files=False)
    except ConfigError:
        return
    assert parse_endpoints("endpoints", [str(endpoint)], has_tls_files=False) == (endpoint,)
