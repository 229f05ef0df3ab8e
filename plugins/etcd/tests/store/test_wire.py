"""Bytes: what flannel writes is read, and what we put into etcd is what flannel would have put."""

from contextlib import aclosing
from pathlib import Path

import pytest
from flannel_sdk_etcd.keys import Keys

from flannel_sdk.model import (
    Lease,
    LeaseSnapshot,
    Subnets,
    decode_entry,
    encode_attrs,
    format_subnet_key,
    parse_subnet_key,
)
from plugins.etcd.tests.store.site import Site
from plugins.etcd.tests.store.test_lease_watches import soon

WIRE = Path(__file__).parents[4] / "tests" / "wire"
SUBNETS = b"/coreos.com/network/subnets/"
Entry = tuple[str, bytes]


def entries(pattern: str) -> list[Entry]:
    """Names below ``subnets/`` and values."""
    found = []
    for path in sorted(WIRE.glob(pattern)):
        for line in path.read_bytes().splitlines():
            key, _, value = line.partition(b"\t")
            assert key.startswith(SUBNETS)
            found.append((key.removeprefix(SUBNETS).decode("ascii"), value))
    assert found, pattern
    return found


OLD = entries("documented/flannel-0.*.tsv")
PRESENT = entries("documented/flannel-head.tsv") + entries("recorded/*.tsv")
RESERVATIONS = entries("documented/reservations.tsv")


def network(subnets: Subnets) -> str:
    """A configuration that these are compatible with."""
    ipv4, ipv6 = subnets
    parts = [f'"EnableIPv4":{"true" if ipv4 else "false"}']
    if ipv4:
        parts.append('"Network":"10.5.0.0/16","SubnetMin":"10.5.0.0"')
    if ipv6:
        inside = f"{ipv6.address}/{ipv6.length - 16}"
        parts.append(f'"EnableIPv6":true,"IPv6Network":"{inside}","IPv6SubnetLen":{ipv6.length}')
    return "{" + ",".join(parts) + "}"


def test_keys_are_joined_as_go_does() -> None:
    for prefix, expected in {
        "/coreos.com/network": b"/coreos.com/network",
        "/coreos.com/network/": b"/coreos.com/network",
        "//coreos.com//network//": b"/coreos.com/network",
        "/a/./b/../c": b"/a/c",
        "/../a": b"/a",
        "a/b": b"a/b",
        "../a": b"../a",
        "/": b"",
        "//": b"",
    }.items():
        keys = Keys(prefix)
        assert keys.config == expected + b"/config"
        assert keys.subnets == expected + b"/subnets/"
    for prefix in ("", "."):
        assert (Keys(prefix).config, Keys(prefix).subnets) == (b"config", b"subnets/")


@pytest.mark.parametrize(("name", "value"), OLD + PRESENT + RESERVATIONS)
async def test_it_is_read_from_etcd(site: Site, name: str, value: bytes) -> None:
    revision = await site.put(name, value)
    async with aclosing(site.open().watch_leases()) as items:
        snapshot = await soon(items)
    assert isinstance(snapshot, LeaseSnapshot)
    assert list(snapshot.leases) == [decode_entry(name, value, None, revision)]
    assert list(snapshot.malformed) == []


@pytest.mark.parametrize(("name", "value"), PRESENT)
async def test_a_node_puts_these_bytes_for_a_day(site: Site, name: str, value: bytes) -> None:
    wanted = decode_entry(name, value)
    assert format_subnet_key(wanted.subnets) == name
    assert encode_attrs(wanted.attrs) == value
    await site.configure(network(wanted.subnets))
    store = site.open()
    lease = await store.acquire_lease(wanted.attrs, wanted.subnets)
    for _ in range(2):
        assert await site.names() == [name]
        entry = await site.entry(name)
        assert entry.value == value
        assert entry.mod_revision == lease.revision
        left = await site.client.lease_time(entry.lease)
        assert left is not None
        assert 86395 <= left.ttl <= 86400
        lease = await store.renew_lease(lease)


@pytest.mark.parametrize(("name", "value"), RESERVATIONS)
async def test_a_reservation_is_taken_without_an_end(site: Site, name: str, value: bytes) -> None:
    await site.put(name, value)
    await site.configure(network(parse_subnet_key(name)))
    attrs = decode_entry(name, value).attrs
    store = site.open()
    lease = await store.acquire_lease(attrs)
    entry = await site.entry(name)
    assert lease == Lease(parse_subnet_key(name), attrs, None, entry.mod_revision)
    assert entry.lease == 0
    assert entry.value == encode_attrs(attrs)
    assert await store.renew_lease(lease) == lease
