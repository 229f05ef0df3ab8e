"""Watching all leases, and our own one."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from flannel_sdk.errors import FlannelError, MalformedEntry
from flannel_sdk.model import (
    UNKNOWN_EXPIRY,
    Lease,
    LeaseDelta,
    LeaseGone,
    LeaseHeld,
    LeaseSnapshot,
    LeaseState,
    Malformed,
    decode_entry,
    is_same_node,
)
from flannel_sdk_etcd.decoding import read_batch, read_entries, shown
from flannel_sdk_etcd.grants import Grants
from flannel_sdk_etcd.keys import Keys
from flannel_sdk_etcd.records import KeyValue, WatchBatch
from flannel_sdk_etcd.resync import read_and_follow
from flannel_sdk_etcd.store_client import StoreClient


async def read_snapshot(client: StoreClient, keys: Keys) -> LeaseSnapshot:
    """All leases at one revision; each page is decoded while the next one is on its way."""
    leases: list[Lease] = []
    malformed: list[Malformed] = []
    revision, received_at = 0, 0.0
    async with aclosing(client.list(keys.subnets)) as pages:
        async for page in pages:
            more, wrong = read_entries(keys, page.entries)
            leases += more
            malformed += wrong
            revision, received_at = page.revision, page.received_at
    return LeaseSnapshot(leases, revision, malformed, received_at)


async def watch_leases(
    client: StoreClient, keys: Keys
) -> AsyncGenerator[LeaseSnapshot | LeaseDelta, None]:
    """As ``SubnetManager.watch_leases``."""

    async def read() -> tuple[LeaseSnapshot, int]:
        snapshot = await read_snapshot(client, keys)
        return snapshot, snapshot.revision

    states = read_and_follow(
        f"watching the leases in {client.name}",
        read,
        lambda revision: client.watch(keys.subnets, revision, is_prefix=True),
    )
    async with aclosing(states):
        async for state in states:
            if isinstance(state, LeaseSnapshot):
                yield state
                continue
            delta = read_batch(keys, state)
            if delta.changed or delta.removed or delta.malformed or delta.cleared:
                yield delta


async def watch_lease(
    client: StoreClient, keys: Keys, lease: Lease, grants: Grants
) -> AsyncGenerator[LeaseState, None]:
    """As ``SubnetManager.watch_lease``; ``grants`` hears of it too."""
    key = keys.of(lease.subnets)
    states = read_and_follow(
        f"watching our lease {keys.name(key)} in {client.name}",
        lambda: client.get(key),
        lambda revision: client.watch(key, revision),
    )
    last: LeaseState | None = None
    async with aclosing(states):
        async for state in states:
            entry = _newest(state) if isinstance(state, WatchBatch) else state
            found = _judge(keys.name(key), lease, entry)
            if isinstance(found, LeaseGone):
                grants.lost(key)
            elif entry is not None and entry.lease:
                expires_at = grants.expiry(key, entry.lease)
                if expires_at is None:
                    expires_at = await _ask_expiry(client, entry.lease)
                found = LeaseHeld(replace(found.lease, expires_at=expires_at))
            if found != last:
                last = found
                yield found


def _newest(batch: WatchBatch) -> KeyValue | None:
    """The last state of the only key that a batch is about."""
    event = batch.events[-1]
    return None if event.removed else event.entry


def _judge(name: str, lease: Lease, entry: KeyValue | None) -> LeaseState:
    """What an entry means for the lease of that name; without its expiry."""
    if entry is None:
        return LeaseGone(f"The lease {name} was deleted or has expired.")
    try:
        found = decode_entry(name, entry.value, None, entry.mod_revision)
    except MalformedEntry as error:
        return LeaseGone(f"The lease {name} holds something else: {shown(str(error))}")
    if not is_same_node(found.attrs.public_ips, lease.attrs.public_ips):
        return LeaseGone(f"The lease {name} belongs to another node now.")
    return LeaseHeld(found)


async def _ask_expiry(client: StoreClient, etcd_lease: int) -> float:
    """Unix time; now, where the etcd lease is gone and the entry is about to follow it."""
    now = time.time()
    try:
        left = await client.lease_time(etcd_lease)
    except FlannelError:
        return UNKNOWN_EXPIRY
    return now + left.ttl if left else now
