"""Keys and values of etcd to leases; what is no lease hides only itself."""

from collections.abc import Iterable

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.model import (
    UNKNOWN_EXPIRY,
    Lease,
    LeaseDelta,
    Malformed,
    Subnets,
    decode_entries,
    parse_subnet_key,
)
from flannel_sdk_etcd.keys import Keys
from flannel_sdk_etcd.records import Event, KeyValue, WatchBatch

_LONGEST_TEXT = 200
"""Characters of a foreign key, or of what is wrong with it, that people are shown."""


def read_entries(keys: Keys, entries: Iterable[KeyValue]) -> tuple[list[Lease], list[Malformed]]:
    """The leases among ``entries``, in their order, and the entries that are none.

    A lease's expiry is None (a reservation) or ``UNKNOWN_EXPIRY``: to know it takes a request.
    """
    start = len(keys.subnets)
    leases, malformed = decode_entries(
        (
            key[start:].decode("utf-8", "backslashreplace"),
            value,
            UNKNOWN_EXPIRY if etcd_lease else None,
            revision,
        )
        for key, value, revision, etcd_lease, _ in entries
    )
    return leases, [Malformed(shown(one.key), shown(one.reason)) for one in malformed]


def read_batch(keys: Keys, batch: WatchBatch) -> LeaseDelta:
    """What a batch of events means: of each key its newest state."""
    newest: dict[bytes, Event] = {event.entry.key: event for event in batch.events}
    leases, malformed = read_entries(
        keys, (event.entry for event in newest.values() if not event.removed)
    )
    removed = held_subnets(entry.key for entry in malformed)
    cleared = []
    for key, event in newest.items():
        if event.removed:
            name = keys.name(key)
            if subnets := held_subnets([name]):
                removed += subnets
            else:
                cleared.append(shown(name))
    return LeaseDelta(leases, removed, batch.revision, malformed, batch.received_at, cleared)


def held_subnets(names: Iterable[str]) -> list[Subnets]:
    """The subnets of those names that are a lease's."""
    found = []
    for name in names:
        try:
            found.append(parse_subnet_key(name))
        except MalformedEntry:
            continue
    return found


def shown(text: str) -> str:
    """A foreign text in one line of bounded length; a lease's name stays as it is."""
    if not text.isprintable():
        text = text[: _LONGEST_TEXT + 1].encode("unicode_escape").decode("ascii")
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 3]}..."
