"""What may be asked of a kernel, as values: operations on rows, and their failures.

A row is what the kernel stores, with device indexes in place of names; addresses are packed bytes,
so that a row read from the kernel equals the one that was written.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

Verb = Literal["put", "remove"]
"""``put`` makes or replaces; removing what is not there is fine."""

MAIN_TABLE = 254
UNICAST = 1
"""The type of an ordinary route."""
DROPPING = 6
"""The type of a blackhole."""


class Via(NamedTuple):
    """One way out: a device, and a gateway on it."""

    ifindex: int
    """0 for a blackhole."""
    gateway: bytes | None
    onlink: bool = False


RouteKey = tuple[bytes, int]
"""Destination address and prefix length; equal to the ``Prefix`` of both."""

RouteSlot = tuple[bytes, int, int]
"""Destination address, prefix length and metric (0: the family's default): the main table has
one route in each, and writing to it replaces that one."""


class StrayRoute(NamedTuple):
    """A route that a reconciler may have to remove but would never write."""

    address: bytes
    length: int
    protocol: int
    metric: int = 0
    """0 for the family's default."""
    tos: int = 0
    nexthop_id: int = 0
    ifindex: int = 0
    gateway: bytes | None = None
    table: int = MAIN_TABLE
    type: int = UNICAST


class NeighbourOperation(NamedTuple):
    """Rows of address and MAC on one device."""

    verb: Verb
    ifindex: int
    rows: Sequence[tuple[bytes, bytes]]
    kind: Literal["neighbour"] = "neighbour"


class FdbOperation(NamedTuple):
    """Rows of MAC and destination on one device."""

    verb: Verb
    ifindex: int
    rows: Sequence[tuple[bytes, bytes]]
    kind: Literal["fdb"] = "fdb"


class RouteOperation(NamedTuple):
    """Rows of slot and way; main table, our route protocol."""

    verb: Verb
    rows: Sequence[tuple[RouteSlot, Via]]
    kind: Literal["route"] = "route"


class StrayRouteOperation(NamedTuple):
    """Rows of a destination and the exact route to remove there."""

    rows: Sequence[tuple[RouteKey, StrayRoute]]
    verb: Literal["remove"] = "remove"
    kind: Literal["route"] = "route"


class AddressOperation(NamedTuple):
    """Rows of address and prefix length on one device."""

    verb: Verb
    ifindex: int
    rows: Sequence[tuple[bytes, int]]
    kind: Literal["address"] = "address"


Operation = (
    NeighbourOperation | FdbOperation | RouteOperation | StrayRouteOperation | AddressOperation
)


class Failure(NamedTuple):
    """One row that the kernel refused."""

    operation: Operation
    row: int
    """Position in the operation's rows."""
    errno: int
    reason: str
    """The kernel's own words where it has some."""
