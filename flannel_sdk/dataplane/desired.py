"""Desired state: the objects of all peers, merged by key into one table for each kind."""

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from flannel_sdk.dataplane.metrics import route_metric
from flannel_sdk.dataplane.objects import FdbEntry, KernelObject, Neighbour, PeerObject, Route
from flannel_sdk.model import IPAddress, MacAddress, Prefix

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
logger = logging.getLogger(__name__)


class Table(Generic[K, V]):
    """Rows of one kind (on one device), and which peer wants each."""

    __slots__ = ("owners", "rows")

    def __init__(self) -> None:
        self.rows: dict[K, V] = {}
        self.owners: dict[Hashable, Hashable] = {}


class NeighbourKey(NamedTuple):
    """Names a neighbour."""

    device: str
    address: bytes
    kind: str = "neighbour"

    def __str__(self) -> str:
        return f"the neighbour {IPAddress(self.address)} on {self.device}"


class FdbKey(NamedTuple):
    """Names a forwarding entry."""

    device: str
    mac: bytes
    kind: str = "fdb"

    def __str__(self) -> str:
        return f"the FDB entry of {MacAddress(self.mac)} on {self.device}"


class RouteKey(NamedTuple):
    """Names a route."""

    address: bytes
    length: int
    kind: str = "route"

    def __str__(self) -> str:
        return f"the route to {IPAddress(self.address)}/{self.length}"


Key = NeighbourKey | FdbKey | RouteKey


def key_of(item: PeerObject) -> Key:
    """The key of an object."""
    if isinstance(item, Neighbour):
        return NeighbourKey(item.device, item.address)
    if isinstance(item, FdbEntry):
        return FdbKey(item.device, item.mac)
    return RouteKey(*item.destination)


class Changes:
    """What has to be written after some peers changed."""

    __slots__ = ("fdb", "moved", "neighbours", "peers", "routes")

    def __init__(self) -> None:
        self.peers = 0
        self.neighbours: dict[str, list[tuple[bytes, bytes]]] = {}
        self.fdb: dict[str, list[tuple[bytes, bytes]]] = {}
        self.routes: list[Route] = []
        self.moved: list[Route] = []
        """Those of the routes that went by another device."""

    def add(self, item: PeerObject) -> None:
        """Note one object; the bulk path writes the lists itself."""
        if isinstance(item, Neighbour):
            self.neighbours.setdefault(item.device, []).append((item.address, item.mac))
        elif isinstance(item, FdbEntry):
            self.fdb.setdefault(item.device, []).append((item.mac, item.destination))
        else:
            self.routes.append(item)


class DesiredState:
    """Who wants what. Where two peers claim one key the first keeps it until it lets go."""

    def __init__(self) -> None:
        self.peers: dict[Hashable, Sequence[KernelObject]] = {}
        self.neighbours: dict[str, Table[bytes, bytes]] = {}
        self.fdb: dict[str, Table[bytes, bytes]] = {}
        self.routes: Table[Prefix, Route] = Table()
        self.waiting: dict[Key, dict[Hashable, PeerObject]] = {}
        """Claims that lost, by key, in the order in which they came."""
        self.conflicts = 0
        self.released: dict[tuple[Key, int], PeerObject] = {}
        """What was given up since it was last taken, by key and metric; some are wanted again."""

    def absorb(  # noqa: PLR0912 - the hot loop, deliberately in one piece
        self,
        changed: Iterator[tuple[Hashable, Sequence[KernelObject]]],
        limit: int,
        seen: set[Hashable] | None = None,
    ) -> Changes:
        """Take the objects of up to ``limit`` peers; ``peers`` of the result is 0 at the end."""
        changes = Changes()
        peers, routes = self.peers, self.routes
        neighbours: dict[str, _Columns] = {}
        fdb: dict[str, _Columns] = {}
        # Most of a start is spent in this loop: hence no calls and few look-ups.
        for peer, objects in islice(changed, limit):
            changes.peers += 1
            if seen is not None:
                seen.add(peer)
            if peer in peers:
                if peers[peer] != objects:
                    self._replace(peer, objects, changes)
                continue
            peers[peer] = objects
            for item in objects:
                if isinstance(item, Neighbour):
                    device, address, mac = item
                    if device not in neighbours:
                        neighbours[device] = self._neighbour_columns(device, changes)
                    rows, owners, add = neighbours[device]
                    if address in owners:
                        self._claim(peer, item, changes)
                    else:
                        rows[address] = mac
                        owners[address] = peer
                        add((address, mac))
                elif isinstance(item, FdbEntry):
                    device, mac, destination = item
                    if device not in fdb:
                        fdb[device] = self._fdb_columns(device, changes)
                    fdb_rows, fdb_owners, add_fdb = fdb[device]
                    if mac in fdb_owners:
                        self._claim(peer, item, changes)
                    else:
                        fdb_rows[mac] = destination
                        fdb_owners[mac] = peer
                        add_fdb((mac, destination))
                elif isinstance(item, Route):
                    prefix = item.destination
                    if prefix in routes.owners:
                        self._claim(peer, item, changes)
                    else:
                        routes.rows[prefix] = item
                        routes.owners[prefix] = peer
                        changes.routes.append(item)
                else:
                    raise TypeError(f"{item!r} belongs to the node, not to a peer")
        return changes

    def drop(self, peer: Hashable, changes: Changes) -> None:
        """Give up all that a peer wants; fine if it is unknown."""
        self._replace(peer, (), changes)
        self.peers.pop(peer, None)

    def take_released(self) -> list[PeerObject]:
        """What was given up since the last call and nobody wants now."""
        gone = []
        for (key, metric), item in self.released.items():
            wanted = self.find(key)
            if wanted is None or _metric(wanted) != metric:
                gone.append(item)
        self.released.clear()
        return gone

    def find(self, key: Key) -> PeerObject | None:
        """The object that is wanted under a key."""
        if isinstance(key, NeighbourKey):
            table = self.neighbours.get(key.device)
            mac = table.rows.get(key.address) if table else None
            if mac is None:
                return None
            return Neighbour(key.device, IPAddress(key.address), MacAddress(mac))
        if isinstance(key, FdbKey):
            table = self.fdb.get(key.device)
            address = table.rows.get(key.mac) if table else None
            if address is None:
                return None
            return FdbEntry(key.device, MacAddress(key.mac), IPAddress(address))
        return self.routes.rows.get(Prefix(IPAddress(key.address), key.length))

    def counts(self) -> dict[str, int]:
        """How many objects of each kind are wanted."""
        return {
            "neighbour": sum(len(table.rows) for table in self.neighbours.values()),
            "fdb": sum(len(table.rows) for table in self.fdb.values()),
            "route": len(self.routes.rows),
        }

    def _neighbour_columns(self, device: str, changes: Changes) -> "_Columns":
        table = self.neighbours.setdefault(device, Table())
        return table.rows, table.owners, changes.neighbours.setdefault(device, []).append

    def _fdb_columns(self, device: str, changes: Changes) -> "_Columns":
        table = self.fdb.setdefault(device, Table())
        return table.rows, table.owners, changes.fdb.setdefault(device, []).append

    def _replace(self, peer: Hashable, objects: Sequence[KernelObject], changes: Changes) -> None:
        wanted: dict[Key, PeerObject] = {}
        for item in objects:
            if not isinstance(item, Neighbour | FdbEntry | Route):
                raise TypeError(f"{item!r} belongs to the node, not to a peer")
            wanted[key_of(item)] = item
        before: dict[Key, PeerObject] = {}
        for item in self.peers.get(peer, ()):
            if isinstance(item, Neighbour | FdbEntry | Route):
                before[key_of(item)] = item
        self.peers[peer] = objects
        for key, item in wanted.items():
            if before.get(key) != item:
                self._claim(peer, item, changes)
        for key in before.keys() - wanted.keys():
            self._release(peer, key, changes)

    def _claim(self, peer: Hashable, item: PeerObject, changes: Changes) -> None:
        owners = self._owners(item)
        key = key_of(item)
        owner = owners.get(_short(key), peer)
        if owner == peer:
            self._set(peer, item, changes)
            return
        waiting = self.waiting.setdefault(key, {})
        if peer not in waiting:
            self.conflicts += 1
            logger.warning(
                "the peers %s and %s both want %s; the first keeps it until it goes",
                _peer_text(owner),
                _peer_text(peer),
                key,
            )
        waiting[peer] = item

    def _release(self, peer: Hashable, key: Key, changes: Changes) -> None:
        waiting = self.waiting.get(key)
        if waiting is not None and waiting.pop(peer, None) is not None:
            if not waiting:
                del self.waiting[key]
            return
        found = self.find(key)
        if found is None or self._owners(found).get(_short(key)) != peer:
            return
        if waiting:
            heir = next(iter(waiting))
            item = waiting.pop(heir)
            if not waiting:
                del self.waiting[key]
            self._set(heir, item, changes)
            return
        self._owners(found).pop(_short(key))
        self._unset(found)
        self.released[key, _metric(found)] = found

    def _owners(self, item: PeerObject) -> dict[Hashable, Hashable]:
        if isinstance(item, Neighbour):
            return self.neighbours.setdefault(item.device, Table()).owners
        if isinstance(item, FdbEntry):
            return self.fdb.setdefault(item.device, Table()).owners
        return self.routes.owners

    def _set(self, peer: Hashable, item: PeerObject, changes: Changes) -> None:
        changes.add(item)
        if isinstance(item, Neighbour):
            table = self.neighbours.setdefault(item.device, Table())
            table.rows[item.address], table.owners[item.address] = item.mac, peer
        elif isinstance(item, FdbEntry):
            fdb = self.fdb.setdefault(item.device, Table())
            fdb.rows[item.mac], fdb.owners[item.mac] = item.destination, peer
        else:
            before = self.routes.rows.get(item.destination)
            if before is not None and before.device != item.device:
                changes.moved.append(item)
            if before is not None and route_metric(before) != route_metric(item):
                self.released[key_of(before), route_metric(before)] = before
            self.routes.rows[item.destination], self.routes.owners[item.destination] = item, peer

    def _unset(self, item: PeerObject) -> None:
        if isinstance(item, Neighbour):
            del self.neighbours[item.device].rows[item.address]
        elif isinstance(item, FdbEntry):
            del self.fdb[item.device].rows[item.mac]
        else:
            del self.routes.rows[item.destination]


def _metric(item: PeerObject) -> int:
    return route_metric(item) if isinstance(item, Route) else 0


def _peer_text(peer: Hashable) -> str:
    """A peer in a sentence; most are named by their subnets."""
    if isinstance(peer, tuple):
        return " ".join(str(part) for part in peer if part is not None)
    return str(peer)


def _short(key: Key) -> Hashable:
    if isinstance(key, NeighbourKey):
        return key.address
    if isinstance(key, FdbKey):
        return key.mac
    return (key.address, key.length)


_Columns = tuple[
    dict[bytes, bytes], dict[Hashable, Hashable], Callable[[tuple[bytes, bytes]], None]
]
