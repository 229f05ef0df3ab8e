"""The difference between what is wanted and what a kernel has, as operations in order."""

from flannel_sdk.dataplane.desired import Changes, DesiredState
from flannel_sdk.dataplane.lowering import Lowering, RouteRow
from flannel_sdk.dataplane.metrics import route_metric
from flannel_sdk.dataplane.objects import Route
from flannel_sdk.dataplane.observed import KernelState
from flannel_sdk.dataplane.ownership import ROUTE_PROTOCOL, Ownership
from flannel_sdk.dataplane.requests import (
    MAIN_TABLE,
    FdbOperation,
    NeighbourOperation,
    Operation,
    RouteOperation,
    StrayRoute,
    StrayRouteOperation,
)

_PART = 4096
"""Routes; the kernel works on one part while the next is prepared."""


def everything(desired: DesiredState) -> list[Changes]:
    """All that is wanted, as if it had just changed, in parts to be written one after another."""
    entries = Changes()
    for device, table in desired.neighbours.items():
        entries.neighbours[device] = list(table.rows.items())
    for device, forwarding in desired.fdb.items():
        entries.fdb[device] = list(forwarding.rows.items())
    parts = [entries]
    routes = list(desired.routes.rows.values())
    for start in range(0, len(routes), _PART):
        parts.append(Changes())
        parts[-1].routes = routes[start : start + _PART]
    return parts


def stale(
    desired: DesiredState, lowering: Lowering, ownership: Ownership, have: KernelState
) -> list[Operation]:
    """What is ours, in the kernel, and not wanted; routes first."""
    own = {
        index: device for device, index in lowering.indexes.items() if device in ownership.devices
    }
    operations = _stale_routes(desired, lowering, ownership, have, own)
    for index, device in own.items():
        dump = have.fdb.get(index)
        if dump is not None:
            entries = desired.fdb[device].rows if device in desired.fdb else {}
            gone = [(mac, dump.rows[mac]) for mac in dump.rows.keys() - entries.keys()]
            doubled = {mac for mac, _ in dump.further}
            gone += [row for row in dump.further if entries.get(row[0]) != row[1]]
            gone += [
                (mac, dump.rows[mac])
                for mac in doubled & entries.keys()
                if dump.rows[mac] != entries[mac]
            ]
            operations.append(FdbOperation("remove", index, gone))
        rows = have.neighbours.get(index, {})
        wanted = desired.neighbours[device].rows if device in desired.neighbours else {}
        operations.append(
            NeighbourOperation(
                "remove", index, [(key, rows[key]) for key in rows.keys() - wanted.keys()]
            )
        )
    return [operation for operation in operations if operation.rows]


def _stale_routes(
    desired: DesiredState,
    lowering: Lowering,
    ownership: Ownership,
    have: KernelState,
    own: dict[int, str],
) -> list[Operation]:
    wanted = desired.routes.rows
    gone: list[RouteRow] = []
    again: list[Route] = []
    for slot, via in have.routes.rows.items():
        address, length, metric = slot
        route = wanted.get((address, length))  # type: ignore[call-overload]  # equal to a Prefix
        if route is None:
            if via.ifindex in own or ownership.covers(address, length):
                gone.append((slot, via))
        elif metric != route_metric(route):
            gone.append((slot, via))
            again.append(route)

    def stale(route: StrayRoute) -> bool:
        if route.table != MAIN_TABLE:
            return False  # only a kernel that cannot filter its dumps tells of these
        if not route.tos and (route.address, route.length) in wanted:
            return False  # that is a rival's: it is removed as ours is written
        if route.ifindex in own:
            return True
        return route.protocol == ROUTE_PROTOCOL and ownership.covers(route.address, route.length)

    strays = [
        ((route.address, route.length), route) for route in have.routes.strays if stale(route)
    ]
    return [
        RouteOperation("remove", gone), StrayRouteOperation(strays), *lowering.rewritten(again),
    ]  # fmt: skip
