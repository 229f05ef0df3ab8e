"""Leases as frozen values: what a node holds, what it publishes, and how a store reports both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from flannel_sdk.model.addresses import ByFamily, Family, IPAddress, Prefix

Subnets = ByFamily[Prefix]
"""The subnet of each family that one lease holds; it identifies the lease, and the peer."""

UNKNOWN_EXPIRY = math.inf
"""An ``expires_at`` that the store does not tell: the lease ends some time unless it is renewed."""

_NO_DATA: ByFamily[str] = ByFamily()


@dataclass(frozen=True, slots=True)
class LeaseAttrs:
    """What a node publishes for its peers (flannel chapter 3.1)."""

    public_ips: ByFamily[IPAddress]
    """Where the node is reached on the underlay."""
    backend_type: str = ""
    """The backend's name; empty for backends that publish none (udp, alloc)."""
    backend_data: ByFamily[str] = _NO_DATA
    """Compact JSON text (one JSON value, not decoded) that only the backend understands."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A subnet of each enabled family that a node holds, and what it publishes with it."""

    subnets: Subnets
    attrs: LeaseAttrs
    expires_at: float | None = None
    """Unix time in seconds; None for a reservation, which is permanent.

    ``UNKNOWN_EXPIRY`` where the store would have to ask for each lease (etcd, for others' leases).
    """
    revision: int = 0
    """The store's revision of this entry: for compare-and-set, and informational elsewhere."""

    def subnet(self, family: Family) -> Prefix | None:
        """The subnet of one family."""
        return self.subnets.get(family)


@dataclass(frozen=True, slots=True)
class Malformed:
    """An entry of the store that is not a lease."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseSnapshot:
    """All leases of the store at one revision, our own included; what is absent does not exist."""

    leases: Sequence[Lease]
    revision: int = 0
    malformed: Sequence[Malformed] = ()
    received_at: float = 0.0
    """``time.monotonic()`` when its raw bytes were complete, for latency figures; 0 if unknown."""


@dataclass(frozen=True, slots=True)
class LeaseDelta:
    """What changed since the item before; what is absent is unchanged. Never means a snapshot."""

    changed: Sequence[Lease] = ()
    removed: Sequence[Subnets] = ()
    """Entries that are gone, or that hold no lease any more (these are in ``malformed`` too)."""
    revision: int = 0
    malformed: Sequence[Malformed] = ()
    received_at: float = 0.0
    """``time.monotonic()`` when its raw bytes were complete, for latency figures; 0 if unknown."""
    cleared: Sequence[str] = ()
    """Keys, as ``Malformed`` names them, of entries that are malformed no more: gone, or healed.

    What ``changed`` and ``removed`` say needs no mention, where keys are ``format_subnet_key``'s.
    """


@dataclass(frozen=True, slots=True)
class LeaseHeld:
    """Our own lease is in the store and ours, as given."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class LeaseGone:
    """Our own lease was deleted, has expired, or holds somebody else's attributes."""

    reason: str


LeaseState = LeaseHeld | LeaseGone
"""What a watch of our own lease reports."""


@dataclass(frozen=True, slots=True)
class PeerUpdate:
    """What a backend has to bring into the kernel; our own lease is never among it."""

    full: bool
    """True: ``changed`` is the whole set of peers, and any other peer is gone."""
    changed: Sequence[Lease] = field(default=())
    """The newest lease of each peer that is new or differs; in no particular order."""
    removed: Sequence[Subnets] = field(default=())
    """Peers that are gone; empty where ``full``. May name peers never seen before."""


@dataclass(frozen=True, slots=True)
class ExternalInterface:
    """The underlay interface of this node (flannel chapter 1.3)."""

    name: str
    index: int
    mtu: int
    """Bytes."""
    addresses: ByFamily[IPAddress]
    """The interface's own address of each enabled family."""
    public_ips: ByFamily[IPAddress]
    """What peers are told; differs from ``addresses`` behind NAT."""
