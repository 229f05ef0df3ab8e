"""The difference between what is wanted and what a kernel has, as operations in order."""

from collections.abc import Iterator

from flannel_sdk.dataplane.desired import Changes, DesiredState
from flannel_sdk.dataplane.lowering import Lowering
from flannel_sdk.dataplane.observed import KernelState
from flannel_sdk.dataplane.ownership import ROUTE_PROTOCOL, Ownership
from flannel_sdk.dataplane.requests import (
    FdbOperation,
    NeighbourOperation,
    NexthopOperation,
    Operation,
    RouteKey,
    RouteOperation,
    RouteTarget,
    StrayRoute,
    StrayRouteOperation,
    Via,
)


def everything(desired: DesiredState) -> Changes:
    """All that is wanted, as if it had just changed."""
    changes = Changes()
    for device, table in desired.neighbours.items():
        changes.neighbours[device] = list(table.rows.items())
    for device, entries in desired.fdb.items():
        changes.fdb[device] = list(entries.rows.items())
    changes.routes = list(desired.routes.rows.values())
    return changes


def stale(
    desired: DesiredState, lowering: Lowering, ownership: Ownership, have: KernelState
) -> list[Operation]:
    """What is ours, in the kernel, and not wanted; routes first, nexthops after them."""
    own = {
        index: device for device, index in lowering.indexes.items() if device in ownership.devices
    }
    lowering.ids.retain(desired.routes.rows)
    operations = [*_stale_routes(desired, lowering, ownership, have, own)]
    used = set(lowering.ids.routes) | lowering.ids.used_by_others
    unused = [(key, via) for key, via in have.nexthops.rows.items() if key not in used]
    operations.append(NexthopOperation("remove", unused))
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
) -> Iterator[Operation]:
    wanted = desired.routes.rows
    ids = lowering.ids.range

    def ours(key: RouteKey, target: RouteTarget) -> bool:
        if isinstance(target, Via):
            return target.ifindex in own or ownership.covers(*key)
        return target in ids or ownership.covers(*key)

    yield RouteOperation(
        "remove",
        [
            (key, have.routes.rows[key])
            for key in have.routes.rows.keys() - wanted.keys()
            if ours(key, have.routes.rows[key])
        ],
    )

    def stray(route: StrayRoute) -> bool:
        if route.table != _MAIN:
            return False
        if route.ifindex not in own and not (
            route.protocol == ROUTE_PROTOCOL and ownership.covers(route.address, route.length)
        ):
            return False
        replaced = not route.metric and not route.tos
        return not (replaced and (route.address, route.length) in wanted)

    yield StrayRouteOperation(
        [((route.address, route.length), route) for route in have.routes.strays if stray(route)]
    )


_MAIN = 254
