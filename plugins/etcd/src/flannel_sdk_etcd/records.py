"""What the client gives and takes: etcd's key-values, events and transactions as plain values."""

from collections.abc import Sequence
from typing import NamedTuple


class KeyValue(NamedTuple):
    """One key of etcd, as a read or an event showed it."""

    key: bytes
    value: bytes
    mod_revision: int
    """Revision of its last change; what compare-and-set compares."""
    lease: int = 0
    """Id of the etcd lease that it lives by; 0 for none: it is permanent."""
    create_revision: int = 0
    """Revision of its creation; 0 in an event."""


class Page(NamedTuple):
    """Some of the keys of a listing, in key order."""

    entries: Sequence[KeyValue]
    revision: int
    """The store's revision that the whole listing is of, the same for each of its pages."""
    received_at: float
    """``time.monotonic()`` when its raw bytes were complete."""


class Event(NamedTuple):
    """One change. Of a removed key only ``key`` and ``mod_revision`` mean something."""

    removed: bool
    entry: KeyValue


class WatchBatch(NamedTuple):
    """Changes in the store's order; all events of a revision are in one batch."""

    events: Sequence[Event]
    revision: int
    """mod_revision of the last event."""
    received_at: float
    """``time.monotonic()`` when its raw bytes were complete."""


class Commit(NamedTuple):
    """The outcome of a compare-and-set, certain in each case."""

    done: bool
    """False: the key was not at the expected revision, and nothing was written."""
    revision: int
    """The store's revision after it; where ``done``, also the key's mod_revision."""
    found: KeyValue | None
    """Where not ``done``: the key as it is instead; None if there is none."""


class LeaseTime(NamedTuple):
    """What remains of an etcd lease."""

    ttl: int
    """Whole seconds until it ends."""
    keys: Sequence[bytes]
    """The keys that live by it."""
