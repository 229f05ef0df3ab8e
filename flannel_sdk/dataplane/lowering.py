"""Desired objects to kernel rows: device names to indexes, routes to slots; rivals make way."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from flannel_sdk.dataplane.desired import Changes
from flannel_sdk.dataplane.metrics import BLACKHOLE_METRIC, metric_of, route_metric
from flannel_sdk.dataplane.objects import BLACKHOLE, Route
from flannel_sdk.dataplane.observed import KernelState
from flannel_sdk.dataplane.ownership import ROUTE_PROTOCOL
from flannel_sdk.dataplane.requests import (
    FdbOperation,
    NeighbourOperation,
    Operation,
    RouteKey,
    RouteOperation,
    RouteSlot,
    StrayRoute,
    StrayRouteOperation,
    Via,
)
from flannel_sdk.dataplane.rivals import Rivals

K = TypeVar("K")
V = TypeVar("V")
RouteRow = tuple[RouteSlot, Via]


class Lowering:
    """Knows the present index of each device, and who else has routes to our destinations."""

    def __init__(self) -> None:
        self.indexes: dict[str, int] = {BLACKHOLE: 0}
        """Devices that exist, and what stands in their place."""
        self.own: frozenset[int] = frozenset()
        """The indexes of devices of our own."""
        self.rivals = Rivals()

    def routes(self, routes: Iterable[Route]) -> list[RouteRow]:
        """Rows of those routes whose device exists."""
        rows: list[RouteRow] = []
        indexes = self.indexes
        for (address, length), device, gateway, onlink, wanted in routes:
            index = indexes.get(device)
            if index is not None:
                metric = wanted if index else BLACKHOLE_METRIC
                if not metric and gateway is not None and len(address) == 4:
                    metric = metric_of(address, length)
                rows.append(((address, length, metric), Via(index, gateway, onlink)))
        return rows

    def operations(self, changes: Changes, have: KernelState | None) -> list[Operation]:
        """What to write for some changes, in order; nothing that ``have`` holds already.

        What stands in the way of a route is removed after the route is there. Routes that are as
        they should be are taken out of ``have``: what ``stale`` has to look at is little then.
        """
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
        if have is not None:
            rows = _take_missing(rows, have.routes.rows)
        operations += self._make_way(changes, rows, have)
        operations.append(RouteOperation("put", rows))
        operations += self._remove_rivals(changes.routes)
        return [operation for operation in operations if operation.rows]

    def _make_way(
        self, changes: Changes, rows: Sequence[RouteRow], have: KernelState | None
    ) -> list[Operation]:
        """What has to precede IPv6 routes by way of a gateway inside their own destination.

        The kernel takes an on-link gateway only if the way to it is not through another device.
        Where a route to the same destination leads there, one on our device alone replaces it
        first, and one that it would lose against is removed.
        """
        moved = {(route.destination.address, route.destination.length) for route in changes.moved}
        present = have.routes.rows if have else {}
        known = self.rivals.by_destination
        if not (moved or present or known):
            return []
        pathfinders: list[RouteRow] = []
        removals: list[tuple[RouteKey, StrayRoute]] = []
        for slot, (index, gateway, onlink) in rows:
            address, length, metric = slot
            if not onlink or gateway is None or len(address) == 4:
                continue
            if not _inside(gateway, address, length):
                continue
            key = address, length
            there = present.get(slot)
            others = [
                route for route in self.rivals.of(key, metric, self.own) if route.ifindex != index
            ]
            if key in moved or others or (there is not None and there.ifindex != index):
                pathfinders.append((slot, Via(index, None)))
                removals += [(key, route) for route in others]
        return [RouteOperation("put", pathfinders), StrayRouteOperation(removals)]

    def pathfinders(self, routes: Iterable[Route]) -> list[Operation]:
        """As above, for routes that were refused or that somebody touched."""
        rows = [
            (slot, Via(index, None))
            for slot, (index, gateway, onlink) in self.routes(routes)
            if onlink and gateway and len(gateway) == 16 and _inside(gateway, slot[0], slot[1])
        ]
        return [RouteOperation("put", rows)] if rows else []

    def _remove_rivals(self, routes: Iterable[Route]) -> list[Operation]:
        known = self.rivals.by_destination
        if not known:
            return []
        removals: list[tuple[RouteKey, StrayRoute]] = []
        again: list[Route] = []
        for route in routes:
            if route.destination in known and route.device in self.indexes:
                key = route.destination.address, route.destination.length
                rivals = self.rivals.of(key, route_metric(route), self.own)
                removals += [(key, rival) for rival in rivals]
                if any(not rival.metric and rival.protocol == ROUTE_PROTOCOL for rival in rivals):
                    again.append(route)
        return [StrayRouteOperation(removals), *self.rewritten(again)]

    def rewritten(self, routes: Iterable[Route]) -> list[Operation]:
        """Routes to write once more after one of metric 0 and our protocol was removed there.

        That removal asks for any metric: had the other gone by itself, it would hit ours.
        """
        rows = [row for row in self.routes(routes) if row[0][2]]
        return [RouteOperation("put", rows)] if rows else []


def _inside(gateway: bytes, address: bytes, length: int) -> bool:
    shift = len(address) * 8 - length
    return int.from_bytes(gateway, "big") >> shift == int.from_bytes(address, "big") >> shift


def _take_missing(rows: list[RouteRow], present: dict[RouteSlot, Via]) -> list[RouteRow]:
    """The rows that are not there, or differ; those that are there are taken out."""
    if not present:
        return rows
    result: list[RouteRow] = []
    take = present.pop
    for row in rows:
        slot, via = row
        there = take(slot, None)
        if there != via:
            result.append(row)
            if there is not None:
                present[slot] = there
    return result


def missing(rows: Sequence[tuple[K, V]], present: Mapping[K, V]) -> Sequence[tuple[K, V]]:
    """The rows that are not there, or differ."""
    if not present:
        return rows
    return [row for row in rows if present.get(row[0]) != row[1]]
