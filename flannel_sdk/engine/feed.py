"""The peer feed: the newest acceptable lease of every peer, told to backends level-triggered."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from flannel_sdk.engine.admission import Admission
from flannel_sdk.engine.convergence import Convergence
from flannel_sdk.model import (
    Lease,
    LeaseDelta,
    LeaseSnapshot,
    Malformed,
    NetworkConfig,
    PeerUpdate,
    Subnets,
)
from flannel_sdk.model.subnet_key import format_subnet_key

_log = logging.getLogger(__name__)
_MOST_GONE = 100
"""Peers that are gone and still remembered."""
_MOST_LOGGED = 100
"""Refusals and malformed entries beyond this many are counted, and not logged."""


class GonePeer(NamedTuple):
    """A peer that was served, and whose lease is not in the store any more."""

    lease: Lease
    at: float
    """By CLOCK_MONOTONIC."""


class _Consumer:
    """What one reader has not been told yet."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.full = True
        self.pending: dict[Subnets, Lease | None] = {}
        self.idle = False

    def take(self, peers: Mapping[Subnets, Lease]) -> PeerUpdate:
        """Everything pending as one update."""
        self.wake.clear()
        pending, self.pending = self.pending, {}
        if self.full:
            self.full = False
            return PeerUpdate(True, tuple(peers.values()))
        changed = tuple(lease for lease in pending.values() if lease is not None)
        removed = tuple(subnets for subnets, lease in pending.items() if lease is None)
        return PeerUpdate(False, changed, removed)


class LeaseFeed:
    """A PeerFeed fed with what a store's ``watch_leases`` gives; used from one event loop.

    It holds one lease a peer, so that a slow reader costs a bigger update and never a longer queue.
    Nothing is told before the first snapshot. A renewal that changes no attribute tells nothing.
    """

    def __init__(
        self,
        config: NetworkConfig,
        own: Lease,
        holder_name: Callable[[Subnets], str | None] = lambda _: None,
    ) -> None:
        """``own``: the lease that this node holds; its subnets are never told.

        ``holder_name``: who holds a lease, as far as that is known; for the log.
        """
        self._holder_name = holder_name
        self._own = own
        self._admission = Admission(config, own)
        self._peers: dict[Subnets, Lease] = {}
        self._consumers: set[_Consumer] = set()
        self._malformed: dict[str, str] = {}
        self._logged: set[tuple[str, str]] = set()
        self._has_snapshot = False
        self._revision = 0
        self._convergence = Convergence()
        self._unsettled_since: float | None = time.monotonic()
        self._gone: dict[Subnets, GonePeer] = {}

    @property
    def settled(self) -> bool:
        """True if every reader has asked again since the newest change: it is in the kernel."""
        return (
            self._has_snapshot
            and bool(self._consumers)
            and all(consumer.idle for consumer in self._consumers)
        )

    async def wait_converged(self) -> None:
        """Return once all that the first snapshot told holds in the kernel."""
        await self._convergence.reached.wait()

    @property
    def pending(self) -> bool:
        """True if a reader has something to read."""
        return any(consumer.wake.is_set() for consumer in self._consumers)

    def peers(self) -> Sequence[Lease]:
        """The newest lease of each accepted peer."""
        return tuple(self._peers.values())

    def apply(self, item: LeaseSnapshot | LeaseDelta) -> None:
        """Take in what the store said; readers are woken if a peer is new, gone or differs."""
        if isinstance(item, LeaseSnapshot):
            self._malformed.clear()
            accepted = self._admission.replace(item.leases)
            removed: Iterable[Subnets] = self._peers.keys() - accepted.keys()
        else:
            if not self._has_snapshot:
                raise ValueError("a store gave a delta before its first snapshot")
            accepted, removed = self._admission.change(item.changed, item.removed)
            if self._malformed:
                self._forget_malformed(item)
        self._revision = item.revision
        self._note_malformed(item.malformed)
        self._log_refusals()
        differs = self._merge(accepted, removed)
        if differs or not self._has_snapshot:
            self._has_snapshot = True
            self._convergence.told(item.received_at)
            self._wake()

    def _merge(self, accepted: Mapping[Subnets, Lease], removed: Iterable[Subnets]) -> bool:
        """Make the peers so, and note for each reader what differs; False if nothing does."""
        peers = self._peers
        if not peers and all(consumer.full for consumer in self._consumers):
            peers.update(accepted)  # the first snapshot: nobody is told of a difference
            return bool(accepted)
        pending: dict[Subnets, Lease | None] = {}
        for subnets, lease in accepted.items():
            known = peers.get(subnets)
            if known is None or known.attrs != lease.attrs:
                pending[subnets] = lease
            peers[subnets] = lease
        for subnets in removed:
            if (gone := peers.pop(subnets, None)) is not None:
                pending[subnets] = None
                self._remember(gone)
        for consumer in self._consumers:
            if not consumer.full:
                consumer.pending.update(pending)
        return bool(pending)

    def _remember(self, gone: Lease) -> None:
        if len(self._gone) >= _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        self._gone.pop(gone.subnets, None)
        self._gone[gone.subnets] = GonePeer(gone, time.monotonic())

    def gone(self) -> Sequence[GonePeer]:
        """The last peers that were lost and have not come back, the oldest first."""
        known = self._peers.keys() | self._admission.refused.keys()
        return [gone for subnets, gone in self._gone.items() if subnets not in known]

    def refused(self) -> Mapping[Subnets, str]:
        """Why each lease that is not believed is not, as a phrase."""
        return dict(self._admission.refused)

    def _wake(self) -> None:
        if self._consumers:
            self._unsettle()
        for consumer in self._consumers:
            consumer.idle = False
            consumer.wake.set()

    async def updates(self) -> AsyncGenerator[PeerUpdate, None]:
        """As ``PeerFeed.updates``; every reader has a stream of its own."""
        consumer = _Consumer()
        if self._has_snapshot:
            consumer.wake.set()
        self._consumers.add(consumer)
        try:
            while True:
                consumer.idle = not consumer.wake.is_set()
                if self.settled:
                    self._unsettled_since = None
                    self._convergence.settled()
                await consumer.wake.wait()
                yield consumer.take(self._peers)
        finally:
            self._consumers.discard(consumer)
            self._unsettle()

    def _unsettle(self) -> None:
        if self._unsettled_since is None:
            self._unsettled_since = time.monotonic()

    def _unsettled_seconds(self) -> float:
        """How long there has been news, or a reader lacking, without a pause; 0 if not now."""
        since = self._unsettled_since
        return 0.0 if since is None else time.monotonic() - since

    def _forget_malformed(self, delta: LeaseDelta) -> None:
        for subnets in [*delta.removed, *(lease.subnets for lease in delta.changed)]:
            self._malformed.pop(format_subnet_key(subnets), None)
        for key in delta.cleared:
            self._malformed.pop(key, None)

    def _note_malformed(self, entries: Iterable[Malformed]) -> None:
        for entry in entries:
            self._malformed[entry.key] = entry.reason
            self._log_once(entry.key, entry.reason)

    def _log_refusals(self) -> None:
        if len(self._logged) >= _MOST_LOGGED:
            return
        for subnets, reason in self._admission.refused.items():
            text = " ".join(str(subnet) for _, subnet in subnets.items_by_family())
            name = self._holder_name(subnets)
            self._log_once(text if name is None else f"{text} of {name}", reason)

    def _log_once(self, what: str, reason: str) -> None:
        if (what, reason) in self._logged or len(self._logged) >= _MOST_LOGGED:
            return
        self._logged.add((what, reason))
        _log.warning("ignoring the lease entry %s: %s", what, reason)
        if len(self._logged) == _MOST_LOGGED:
            _log.warning("further lease entries that are ignored are counted, not logged")

    def status(self) -> Mapping[str, object]:
        """JSON-ready counts of accepted peers, refused ones by reason, and malformed entries."""
        return {
            "peers": len(self._peers),
            "refused": dict(Counter(self._admission.refused.values())),
            "malformed": len(self._malformed),
            "revision": self._revision,
            "settled": self.settled,
            "unsettled_seconds": self._unsettled_seconds(),
            "convergence": self._convergence.status(),
        }
