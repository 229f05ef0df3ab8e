"""Operations in iproute2's words, for plans."""

from collections.abc import Iterable, Mapping, Sequence

from flannel_sdk.dataplane.observed import KernelState
from flannel_sdk.dataplane.requests import (
    AddressOperation,
    FdbOperation,
    NeighbourOperation,
    Operation,
    RouteOperation,
    StrayRouteOperation,
    Via,
)
from flannel_sdk.interfaces import PlannedChange
from flannel_sdk.model import IPAddress, MacAddress, Prefix


def planned_changes(
    operations: Sequence[Operation], have: KernelState, indexes: Mapping[str, int]
) -> list[PlannedChange]:
    """One change for each row."""
    names = {index: name for name, index in indexes.items()}
    return [change for operation in operations for change in _changes(operation, have, names)]


def _changes(
    operation: Operation, have: KernelState, names: Mapping[int, str]
) -> Iterable[PlannedChange]:
    present: set[object] = set()
    if isinstance(operation, NeighbourOperation):
        present = set(have.neighbours.get(operation.ifindex, {}))
    elif isinstance(operation, FdbOperation) and operation.ifindex in have.fdb:
        present = set(have.fdb[operation.ifindex].rows)
    elif isinstance(operation, RouteOperation):
        present = {(r.address, r.length, r.metric) for r in have.routes.strays if not r.tos}
        present |= have.routes.rows.keys()
    for position, row in enumerate(operation.rows):
        action = "change" if row[0] in present else "add"
        if operation.verb == "remove":
            action = "remove"
        yield PlannedChange(action, operation.kind, subject(operation, position, names))


def subject(operation: Operation, position: int, names: Mapping[int, str]) -> str:
    """One row as iproute2 would write it."""

    def device(index: int) -> str:
        return names.get(index, f"if{index}")

    def way(via: Via) -> str:
        gateway = f"via {IPAddress(via.gateway)} " if via.gateway else ""
        return f"{gateway}dev {device(via.ifindex)}" + (" onlink" if via.onlink else "")

    if isinstance(operation, NeighbourOperation):
        address, mac = operation.rows[position]
        return f"{IPAddress(address)} lladdr {MacAddress(mac)} dev {device(operation.ifindex)}"
    if isinstance(operation, FdbOperation):
        mac, destination = operation.rows[position]
        text = f"{MacAddress(mac)} dev {device(operation.ifindex)}"
        return f"{text} dst {IPAddress(destination)}"
    if isinstance(operation, AddressOperation):
        address, length = operation.rows[position]
        return f"{Prefix(IPAddress(address), length)} dev {device(operation.ifindex)}"
    if isinstance(operation, StrayRouteOperation):
        _, stray = operation.rows[position]
        gateway = f" via {IPAddress(stray.gateway)}" if stray.gateway else ""
        prefix = Prefix(IPAddress(stray.address), stray.length)
        text = f"{prefix}{gateway} dev {device(stray.ifindex)} proto {stray.protocol}"
        return f"{text} metric {stray.metric}" if stray.metric else text
    (address, length, metric), via = operation.rows[position]
    prefix = Prefix(IPAddress(address), length)
    text = f"{prefix} {way(via)}" if via.ifindex else f"blackhole {prefix}"
    return f"{text} metric {metric}" if metric else text
