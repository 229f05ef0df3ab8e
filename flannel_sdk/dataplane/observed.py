"""What a kernel tells, as values: links, dumps, and notices of changes."""

from collections.abc import Mapping
from typing import NamedTuple

from flannel_sdk.dataplane.requests import RouteKey, RouteSlot, StrayRoute, Via
from flannel_sdk.model import MacAddress


class LinkState(NamedTuple):
    """A network device as it is."""

    ifindex: int
    name: str
    kind: str
    """Empty for devices without a kind (physical, loopback)."""
    mtu: int
    mac: MacAddress | None
    up: bool
    running: bool
    """True if it has carrier too."""
    lower: int | None
    """Index of the lower device."""
    attributes: Mapping[str, object]
    """Attributes of the kind in pyroute2's short names, as far as they were decoded."""


class FdbDump(NamedTuple):
    """The permanent unicast entries of one device."""

    rows: dict[bytes, bytes]
    """The first destination of each MAC."""
    further: list[tuple[bytes, bytes]]
    """Second and later destinations, which we never write."""


class RouteDump(NamedTuple):
    """The routes of the main table, those of the kernel's protocol excepted."""

    rows: dict[RouteSlot, Via]
    """Those of the form that a reconciler writes."""
    strays: list[StrayRoute]
    """All others."""


class KernelState(NamedTuple):
    """Everything that a reconciliation compares with, by device index where it has one."""

    neighbours: dict[int, dict[bytes, bytes]]
    fdb: dict[int, FdbDump]
    routes: RouteDump


class Overrun(NamedTuple):
    """Notices were lost: compare everything."""


class LinkNotice(NamedTuple):
    """A device came, went or changed."""

    ifindex: int
    name: str
    up: bool
    present: bool


class AddressNotice(NamedTuple):
    """An address of a device came or went."""

    ifindex: int
    address: bytes
    length: int
    present: bool


class NeighbourNotice(NamedTuple):
    """A neighbour (``mac`` None: unresolved) was set or went."""

    ifindex: int
    address: bytes
    mac: bytes | None
    permanent: bool
    present: bool


class FdbNotice(NamedTuple):
    """A forwarding entry of a device itself was set or went."""

    ifindex: int
    mac: bytes
    destination: bytes | None
    permanent: bool
    present: bool


class RouteNotice(NamedTuple):
    """A route was set or went."""

    key: RouteKey
    target: Via | None
    """None where it is not of the form that we write (main table, our protocol, one way)."""
    route: StrayRoute
    present: bool


Notice = Overrun | LinkNotice | AddressNotice | NeighbourNotice | FdbNotice | RouteNotice
