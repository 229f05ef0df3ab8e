"""Operations that remove what nobody wants any more."""

from collections.abc import Iterable
from typing import Final

from flannel_sdk.dataplane.lowering import Lowering
from flannel_sdk.dataplane.objects import FdbEntry, PeerObject, Route
from flannel_sdk.dataplane.ownership import ROUTE_PROTOCOL
from flannel_sdk.dataplane.requests import (
    FdbOperation,
    NeighbourOperation,
    NexthopOperation,
    Operation,
    RouteKey,
    StrayRoute,
    StrayRouteOperation,
    Via,
)

_NOWHERE: Final = Via(0, None)


def removals(released: Iterable[PeerObject], lowering: Lowering) -> list[Operation]:
    """Routes first, then nexthops, forwarding entries and neighbours; frees the nexthop ids."""
    ids = lowering.ids
    routes: list[tuple[RouteKey, StrayRoute]] = []
    nexthops = [(obsolete, _NOWHERE) for obsolete in lowering.obsolete]
    entries: dict[int, list[tuple[bytes, bytes]]] = {}
    neighbours: dict[int, list[tuple[bytes, bytes]]] = {}
    lowering.obsolete.clear()
    for item in released:
        index = lowering.indexes.get(item.device)
        if isinstance(item, Route):
            nexthop_id = ids.release(item.destination) or 0
            if nexthop_id:
                nexthops.append((nexthop_id, _NOWHERE))
            stray = StrayRoute(*item.destination, ROUTE_PROTOCOL, nexthop_id=nexthop_id)
            routes.append((item.destination, stray))
        elif index is None:
            continue
        elif isinstance(item, FdbEntry):
            # The unspecified destination stands for all of that MAC.
            row = (item.mac, bytes(len(item.destination)))
            entries.setdefault(index, []).append(row)
        else:
            neighbours.setdefault(index, []).append((item.address, item.mac))
    unused = [row for row in nexthops if row[0] not in ids.used_by_others]
    operations: list[Operation] = [
        StrayRouteOperation(routes),
        NexthopOperation("remove", unused),
        *(FdbOperation("remove", index, rows) for index, rows in entries.items()),
        *(NeighbourOperation("remove", index, rows) for index, rows in neighbours.items()),
    ]
    return [operation for operation in operations if operation.rows]
