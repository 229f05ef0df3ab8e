"""Desired objects to kernel rows: device names to indexes, gateways to nexthop ids."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from flannel_sdk.dataplane.desired import Changes
from flannel_sdk.dataplane.nexthop_ids import NexthopIds
from flannel_sdk.dataplane.objects import Route
from flannel_sdk.dataplane.observed import KernelState
from flannel_sdk.dataplane.requests import (
    FdbOperation,
    NeighbourOperation,
    NexthopOperation,
    Operation,
    RouteKey,
    RouteOperation,
    RouteTarget,
    Via,
)

K = TypeVar("K")
V = TypeVar("V")


class RouteRows(NamedTuple):
    """Routes as rows, nexthops before the routes that use them."""

    created: list[tuple[int, Via]]
    """Nexthops with an id that was never used."""
    nexthops: list[tuple[int, Via]]
    routes: list[tuple[RouteKey, RouteTarget]]


class Lowering:
    """Knows the present index of each device, and the nexthop id of each route."""

    def __init__(self, ids: NexthopIds) -> None:
        self.ids = ids
        self.indexes: dict[str, int] = {}
        """Devices that exist."""
        self.nexthops = False
        """Whether to use nexthop objects."""
        self.obsolete: set[int] = set()
        """Ids whose route does without a nexthop object now."""

    def routes(self, routes: Iterable[Route]) -> RouteRows:
        """Rows of those routes whose device exists."""
        rows = RouteRows([], [], [])
        indexes, ids = self.indexes, self.ids
        known_ids, take = ids.by_route, ids.take
        for route in routes:
            destination, device, gateway, onlink = route
            index = indexes.get(device)
            if index is None:
                continue
            via = Via(index, gateway, onlink)
            if gateway is None or not self.nexthops:
                if destination in known_ids and (obsolete := ids.release(destination)):
                    self.obsolete.add(obsolete)
                rows.routes.append((destination, via))
                continue
            nexthop_id = known_ids.get(destination)
            if nexthop_id is None:
                nexthop_id = take(destination)
                rows.created.append((nexthop_id, via))
            else:
                rows.nexthops.append((nexthop_id, via))
            rows.routes.append((destination, nexthop_id))
        return rows

    def pathfinders(self, routes: Iterable[Route]) -> list[Operation]:
        """Routes to write ahead of those that IPv6 refuses.

        It takes an on-link gateway only if the way to it is not through another device. Gateways
        inside their own destination (vxlan's) are: a route of somebody else to that destination,
        or to a wider one, is in the way until ours on the device alone has replaced it.
        """
        rows: list[tuple[RouteKey, RouteTarget]] = [
            (route.destination, Via(self.indexes[route.device], None))
            for route in routes
            if route.onlink
            and route.gateway is not None
            and len(route.gateway) == 16
            and route.device in self.indexes
            and route.destination.covers(route.gateway)
        ]
        return [RouteOperation("put", rows)] if rows else []

    def operations(self, changes: Changes, have: KernelState | None) -> list[Operation]:
        """What to write for some changes, in order; nothing that ``have`` holds already."""
        operations: list[Operation] = []
        for device, neighbours in changes.neighbours.items():
            index = self.indexes.get(device)
            if index is not None:
                present = have.neighbours.get(index, {}) if have else {}
                operations.append(NeighbourOperation("put", index, missing(neighbours, present)))
        for device, entries in changes.fdb.items():
            index = self.indexes.get(device)
            if index is not None:
                known = have.fdb.get(index) if have else None
                operations.append(
                    FdbOperation("put", index, missing(entries, known.rows if known else {}))
                )
        rows = self.routes(changes.routes)
        nexthops = have.nexthops.rows if have else {}
        routes = have.routes.rows if have else {}
        operations += [
            NexthopOperation("create", rows.created),
            NexthopOperation("put", missing(rows.nexthops, nexthops)),
            RouteOperation("put", missing(rows.routes, routes)),
        ]
        return [operation for operation in operations if operation.rows]


def missing(rows: Sequence[tuple[K, V]], present: Mapping[K, V]) -> Sequence[tuple[K, V]]:
    """The rows that are not there, or differ."""
    if not present:
        return rows
    return [row for row in rows if present.get(row[0]) != row[1]]
