"""Acquiring, renewing and reporting leases, each as one function on a table (flannel 4.5, 4.6)."""

import time
from typing import TYPE_CHECKING

from flannel_sdk.errors import ConfigError, ConfigMissing, LeaseLost, MalformedEntry
from flannel_sdk.model import (
    ByFamily,
    Lease,
    LeaseAttrs,
    LeaseDelta,
    LeaseGone,
    LeaseHeld,
    LeaseSnapshot,
    LeaseState,
    NetworkConfig,
    Subnets,
    choose_subnets,
    compatible,
    decode_entries,
    decode_entry,
    encode_attrs,
    format_subnet_key,
    is_same_node,
    parse_subnet_key,
)
from flannel_sdk.stores.table import Reader, Row, Writer

if TYPE_CHECKING:
    from random import Random


def network_config(table: Reader, store: str) -> NetworkConfig:
    """The configuration; ConfigMissing or ConfigError."""
    document = table.config()
    if document is None:
        raise ConfigMissing(f"{store} holds no network configuration yet.")
    return NetworkConfig.parse(document)


def acquire(
    table: Writer,
    attrs: LeaseAttrs,
    previous: Subnets | None,
    *,
    store: str,
    ttl: float,
    rng: "Random",
) -> Lease:
    """The lease of the node that ``attrs`` describes, published with a new expiry."""
    if not attrs.public_ips.families:
        raise ConfigError("public-ip", "A node needs a public IP address to hold a lease.")
    config = network_config(table, store)
    value = encode_attrs(attrs)
    now = time.time()
    table.delete_expired(now)
    own = _own_leases(table, attrs)
    adopted = next((lease for lease in own if compatible(lease.subnets, config)), None)
    if adopted is not None:
        expires_at = None if adopted.expires_at is None else now + ttl
        return _put(table, adopted.subnets, value, attrs, expires_at)
    for lease in own:
        table.delete(format_subnet_key(lease.subnets))
    # An entry with an unreadable value holds its subnet too.
    held = [subnets for key in table.all_keys() for subnets in _subnets(key)]
    wanted = [lease.subnets for lease in own] + ([previous] if previous else [])
    return _put(table, choose_subnets(config, held, wanted, rng), value, attrs, now + ttl)


def renew(table: Writer, lease: Lease, ttl: float) -> Lease:
    """The same lease with a new expiry, or LeaseLost with nothing written."""
    key = format_subnet_key(lease.subnets)
    now = time.time()
    row = table.row(key)
    if row is None or _is_over(row, now):
        raise LeaseLost(f"The lease {key} is gone: it was deleted or has expired.")
    if row.revision != lease.revision and not _is_ours(row, lease.attrs):
        raise LeaseLost(f"The lease {key} belongs to another node now.")
    value = encode_attrs(lease.attrs)
    if row.expires_at is None and row.value == value:
        return _lease_of(row, lease)
    expires_at = None if row.expires_at is None else now + ttl
    return _put(table, lease.subnets, value, lease.attrs, expires_at)


def own_state(table: Reader, lease: Lease) -> LeaseState:
    """What the table says of a lease that was ours."""
    key = format_subnet_key(lease.subnets)
    row = table.row(key)
    if row is None:
        return LeaseGone(f"The lease {key} was deleted or has expired.")
    if _is_over(row, time.time()):
        return LeaseGone(f"The lease {key} has expired.")
    try:
        found = decode_entry(*row)
    except MalformedEntry as error:
        return LeaseGone(f"The lease {key} holds something else: {error}")
    if not is_same_node(found.attrs.public_ips, lease.attrs.public_ips):
        return LeaseGone(f"The lease {key} belongs to another node now.")
    return LeaseHeld(found)


def snapshot(table: Reader) -> LeaseSnapshot:
    """All leases that have not expired."""
    rows = table.rows()
    received_at, now = time.monotonic(), time.time()
    if any(row[2] is not None and row[2] <= now for row in rows):
        rows = [row for row in rows if row[2] is None or row[2] > now]
    leases, malformed = decode_entries(rows)
    return LeaseSnapshot(leases, table.revision(), malformed, received_at)


def delta(table: Reader, since: int) -> LeaseDelta | LeaseSnapshot:
    """What changed after revision ``since``; a snapshot where the log does not reach back."""
    changes = table.changed_since(since)
    if changes is None:
        return snapshot(table)
    now = time.time()
    present: list[Row] = []
    removed: list[Subnets] = []
    cleared: list[str] = []
    for key in changes.keys:
        row = table.row(key)
        if row is not None and not _is_over(row, now):
            present.append(row)
        elif subnets := _subnets(key):
            removed += subnets
        else:
            cleared.append(key)
    received_at = time.monotonic()
    leases, malformed = decode_entries(present)
    for entry in malformed:
        removed.extend(_subnets(entry.key))
    return LeaseDelta(leases, removed, changes.revision, malformed, received_at, cleared)


def _own_leases(table: Reader, attrs: LeaseAttrs) -> list[Lease]:
    """Our own entries in key order, found without decoding everybody's (4 us each).

    An entry of ours holds our address as we spell it, or is spelled oddly; IPv6 text has too many
    spellings to tell.
    """
    own = attrs.public_ips
    if own.ipv4 is not None:
        rows = sorted({*table.mentioning(str(own.ipv4)), *table.oddly_spelled()})
    else:
        rows = list(table.rows())
    leases, _ = decode_entries(rows)
    return [lease for lease in leases if _publishes(lease, attrs)]


def _publishes(lease: Lease, attrs: LeaseAttrs) -> bool:
    return is_same_node(lease.attrs.public_ips, attrs.public_ips)


def _subnets(key: str) -> list[Subnets]:
    try:
        return [parse_subnet_key(key)]
    except MalformedEntry:
        return []


def _is_over(row: Row, now: float) -> bool:
    return row.expires_at is not None and row.expires_at <= now


def _is_ours(row: Row, attrs: LeaseAttrs) -> bool:
    try:
        return is_same_node(decode_entry(*row).attrs.public_ips, attrs.public_ips)
    except MalformedEntry:
        return False


def _lease_of(row: Row, lease: Lease) -> Lease:
    return Lease(lease.subnets, lease.attrs, row.expires_at, row.revision)


def _put(
    table: Writer, subnets: Subnets, value: bytes, attrs: LeaseAttrs, expires_at: float | None
) -> Lease:
    row = table.put(format_subnet_key(subnets), value, expires_at)
    return Lease(ByFamily(*subnets), attrs, row.expires_at, row.revision)
