"""Entries that real flanneld nodes wrote: decoded, and encoded again to the same bytes."""

from pathlib import Path

import pytest

from flannel_sdk.model import Lease, decode_entry, encode_attrs
from flannel_sdk.model.entries import match_usual_layout
from flannel_sdk.model.lease_json import decode_attrs
from flannel_sdk.model.subnet_key import format_subnet_key, parse_subnet_key

RECORDED = Path(__file__).parents[2] / "wire" / "recorded"
SUBNETS = "/coreos.com/network/subnets/"


def _entries() -> list[tuple[str, bytes]]:
    found = []
    for path in sorted(RECORDED.glob("*.tsv")):
        for line in path.read_bytes().splitlines():
            key, _, value = line.partition(b"\t")
            found.append((key.decode("ascii").removeprefix(SUBNETS), value))
    return found


ENTRIES = _entries()


def test_there_are_entries_of_each_kind() -> None:
    kinds = {(decode_attrs(value).backend_type, "&" in key) for key, value in ENTRIES}
    single = {"", "vxlan", "host-gw", "extension"}
    assert kinds == {(kind, False) for kind in single} | {("vxlan", True), ("host-gw", True)}


@pytest.mark.parametrize(("key", "value"), ENTRIES)
def test_it_is_read_and_written_again_as_it_was(key: str, value: bytes) -> None:
    lease = decode_entry(key, value, 1.5, 7)
    assert lease == Lease(parse_subnet_key(key), decode_attrs(value), 1.5, 7)
    assert format_subnet_key(lease.subnets) == key
    assert encode_attrs(lease.attrs) == value


@pytest.mark.parametrize(
    ("key", "value"), [entry for entry in ENTRIES if b"extension" not in entry[1]]
)
def test_it_takes_the_fast_path(key: str, value: bytes) -> None:
    assert match_usual_layout(key, value, None, 0) is not None
