"""What ``flannel-sdk doctor`` asks of an agent: the store read anew, beside what is served."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import NamedTuple

from flannel_sdk.agent.facts import lease_facts
from flannel_sdk.engine.feed import LeaseFeed
from flannel_sdk.errors import FlannelError
from flannel_sdk.interfaces import SubnetManager
from flannel_sdk.model import Lease, LeaseSnapshot, Subnets

PATIENCE = 10.0
"""Seconds for the store to tell all leases."""
_TRIES = 3
_PAUSE = 0.3
"""Seconds between two comparisons: news may be on its way."""
_MOST = 100
"""Entries of each sort that are told."""


class _Differences(NamedTuple):
    """How the store's entries differ from what is served."""

    missing: list[Lease]
    """In the store, and neither served nor refused."""
    extra: list[Lease]
    """Served, and not in the store."""
    differing: list[Lease]
    """Served with other attributes than the store has; as the store has them."""


async def inspect_store(store: SubnetManager, feed: LeaseFeed, own: Lease) -> Mapping[str, object]:
    """JSON-ready: how the store's own entries, read now, differ from what ``feed`` serves."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE):
            snapshot = await _read(store)
            seconds = time.monotonic() - started
            differences = _compare(snapshot, feed, own)
            for _ in range(_TRIES):
                if not any(differences):
                    break
                await asyncio.sleep(_PAUSE)
                snapshot = await _read(store)
                differences = _compare(snapshot, feed, own)
    except (FlannelError, TimeoutError) as error:
        reason = str(error) or f"it did not tell its leases within {PATIENCE:.0f} s"
        return {"name": store.name, "error": reason, **_remembered(feed)}
    return {
        "name": store.name,
        "error": None,
        "read_seconds": seconds,
        "entries": len(snapshot.leases),
        "own": _own_entry(snapshot, own),
        "missing": _told(differences.missing),
        "extra": _told(differences.extra),
        "differing": _told(differences.differing),
        "malformed": [
            {"key": entry.key, "reason": entry.reason} for entry in snapshot.malformed[:_MOST]
        ],
        **_remembered(feed),
    }


async def _read(store: SubnetManager) -> LeaseSnapshot:
    async with aclosing(store.watch_leases()) as items:
        async for item in items:
            if isinstance(item, LeaseSnapshot):
                return item
    raise TimeoutError


def _compare(snapshot: LeaseSnapshot, feed: LeaseFeed, own: Lease) -> _Differences:
    served = {lease.subnets: lease for lease in feed.peers()}
    stored = {lease.subnets: lease for lease in snapshot.leases if lease.subnets != own.subnets}
    refused = feed.refused()
    return _Differences(
        [
            lease
            for subnets, lease in stored.items()
            if not (subnets in served or subnets in refused)
        ],
        [lease for subnets, lease in served.items() if subnets not in stored],
        [
            lease
            for subnets, lease in stored.items()
            if subnets in served and served[subnets].attrs != lease.attrs
        ],
    )


def _own_entry(snapshot: LeaseSnapshot, own: Lease) -> str:
    found = next((lease for lease in snapshot.leases if lease.subnets == own.subnets), None)
    if found is None:
        return "absent"
    return "present" if found.attrs == own.attrs else "differs"


def _told(leases: Iterable[Lease]) -> list[Mapping[str, object]]:
    return [lease_facts(lease) for _, lease in zip(range(_MOST), leases, strict=False)]


def _remembered(feed: LeaseFeed) -> Mapping[str, object]:
    """What is known without asking the store."""
    now = time.monotonic()
    refused = list(feed.refused().items())[:_MOST]
    return {
        "refused": [{"subnets": _texts(subnets), "reason": reason} for subnets, reason in refused],
        "gone": [{**lease_facts(peer.lease), "seconds_ago": now - peer.at} for peer in feed.gone()],
    }


def _texts(subnets: Subnets) -> list[str]:
    return [str(subnet) for _, subnet in subnets.items_by_family()]
