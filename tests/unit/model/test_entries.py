"""The hot path of decoding gives what the general path gives, for every entry."""

import copy
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.model import (
    Lease,
    decode_attrs,
    decode_entries,
    decode_entry,
    encode_attrs,
    format_subnet_key,
    parse_subnet_key,
)
from flannel_sdk.model.entries import match_usual_layout
from tests.unit.model.strategies import leases

USUAL = [
    (
        "10.5.34.0-24",
        (
            b'{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan",'
            b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
        ),
    ),
    ("10.5.34.0-24", b'{"PublicIP":"192.168.64.3","BackendType":"vxlan"}'),
    (
        "10.5.34.0-24&fc00:0:0:7::-64",
        (
            b'{"PublicIP":"192.168.64.3","PublicIPv6":"fd00::3","BackendType":"vxlan",'
            b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},'
            b'"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:45"}}'
        ),
    ),
    ("0.0.0.0-0&fc00:0:0:7::-64", b'{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::3"}'),
    ("10.5.34.0-24", b'{"PublicIP":"192.168.64.3","PublicIPv6":null}'),
    (
        "10.5.34.0-24",
        (
            b'{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"wireguard",'
            b'"BackendData":{"PublicKey":"+7x/A==","Port":51820}}'
        ),
    ),
    (
        "10.5.34.0-24",
        (
            b'{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"extension",'
            b'"BackendData":"text"}'
        ),
    ),
]


def general(key: str, value: bytes, expires_at: float | None, revision: int) -> Lease | None:
    try:
        return Lease(parse_subnet_key(key), decode_attrs(value), expires_at, revision)
    except MalformedEntry:
        return None


@pytest.mark.parametrize(("key", "value"), USUAL)
def test_the_usual_layouts_take_the_hot_path(key: str, value: bytes) -> None:
    lease = match_usual_layout(key, value, 1.5, 7)
    assert lease is not None
    assert lease == general(key, value, 1.5, 7)


@given(leases())
def test_both_paths_agree_on_what_is_written(lease: Lease) -> None:
    key, value = format_subnet_key(lease.subnets), encode_attrs(lease.attrs)
    fast = match_usual_layout(key, value, lease.expires_at, lease.revision)
    slow = general(key, value, lease.expires_at, lease.revision)
    assert fast in (None, slow)
    assert decode_entry(key, value, lease.expires_at, lease.revision) == slow


@given(st.data())
def test_both_paths_agree_on_what_is_damaged(data: st.DataObject) -> None:
    key, value = data.draw(st.sampled_from(USUAL))
    whole = key.encode() + b"\n" + value
    at = data.draw(st.integers(0, len(whole) - 1))
    patch = data.draw(st.binary(max_size=2) | st.sampled_from([b'"', b",", b"}", b"0", b".", b":"]))
    damaged = whole[:at] + patch + whole[at + data.draw(st.integers(0, 2)) :]
    key_bytes, _, value = damaged.partition(b"\n")
    key = key_bytes.decode("utf-8", "replace")
    fast = match_usual_layout(key, value, None, 1)
    slow = general(key, value, None, 1)
    assert fast in (None, slow)
    found, malformed = decode_entries([(key, value, None, 1)])
    assert found == ([] if slow is None else [slow])
    assert len(malformed) == (slow is None)


def test_one_bad_entry_hides_only_itself() -> None:
    good = [(key, value, None, number) for number, (key, value) in enumerate(USUAL)]
    bad = [("notes", b"{}", None, 1), ("10.5.1.0-24", b"\xff", None, 2)]
    found, malformed = decode_entries([good[0], bad[0], *good[1:], bad[1]])
    assert [lease.revision for lease in found] == list(range(len(USUAL)))
    assert [entry.key for entry in malformed] == ["notes", "10.5.1.0-24"]
    assert all(entry.reason.endswith(".") for entry in malformed)
    with pytest.raises(MalformedEntry, match="is not the key of a lease"):
        decode_entry("notes", b"{}")


def test_a_lease_of_the_hot_path_is_a_lease_like_any_other() -> None:
    key, value = USUAL[0]
    lease = match_usual_layout(key, value, None, 3)
    slow = general(key, value, None, 3)
    assert lease is not None
    assert slow is not None
    assert hash(lease) == hash(slow)
    assert repr(lease) == repr(slow)
    assert replace(lease, revision=4) == replace(slow, revision=4)
    assert copy.copy(lease) == pickle.loads(pickle.dumps(lease)) == slow
    for one, other in [
        (lease.subnets, slow.subnets),
        (lease.subnets.ipv4, slow.subnets.ipv4),
        (lease.attrs.public_ips, slow.attrs.public_ips),
        (lease.attrs.public_ips.ipv4, slow.attrs.public_ips.ipv4),
    ]:
        assert type(one) is type(other)
