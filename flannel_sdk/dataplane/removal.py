"""Operations that remove what nobody wants any more."""

from collections.abc import Iterable

from flannel_sdk.dataplane.lowering import Lowering
from flannel_sdk.dataplane.metrics import route_metric
from flannel_sdk.dataplane.objects import BLACKHOLE, FdbEntry, PeerObject, Route
from flannel_sdk.dataplane.ownership import ROUTE_PROTOCOL
from flannel_sdk.dataplane.requests import (
    DROPPING,
    UNICAST,
    FdbOperation,
    NeighbourOperation,
    Operation,
    RouteKey,
    StrayRoute,
    StrayRouteOperation,
)


def removals(released: Iterable[PeerObject], lowering: Lowering) -> list[Operation]:
    """Routes first, then forwarding entries and neighbours."""
    routes: list[tuple[RouteKey, StrayRoute]] = []
    entries: dict[int, list[tuple[bytes, bytes]]] = {}
    neighbours: dict[int, list[tuple[bytes, bytes]]] = {}
    for item in released:
        index = lowering.indexes.get(item.device)
        if isinstance(item, Route):
            kind = DROPPING if item.device == BLACKHOLE else UNICAST
            metric = route_metric(item)
            stray = StrayRoute(*item.destination, ROUTE_PROTOCOL, metric, type=kind)
            routes.append((item.destination, stray))
        elif index is None:
            continue
        elif isinstance(item, FdbEntry):
            # The unspecified destination stands for all of that MAC.
            row = (item.mac, bytes(len(item.destination)))
            entries.setdefault(index, []).append(row)
        else:
            neighbours.setdefault(index, []).append((item.address, item.mac))
    operations: list[Operation] = [
        StrayRouteOperation(routes),
        *(FdbOperation("remove", index, rows) for index, rows in entries.items()),
        *(NeighbourOperation("remove", index, rows) for index, rows in neighbours.items()),
    ]
    return [operation for operation in operations if operation.rows]
