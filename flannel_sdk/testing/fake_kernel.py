"""A kernel in memory that answers as the real one does, and fails where it is told to."""

import asyncio
import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count

from flannel_sdk.dataplane.objects import Device
from flannel_sdk.dataplane.observed import (
    FdbDump,
    FdbNotice,
    LinkNotice,
    LinkState,
    NeighbourNotice,
    Notice,
    RouteDump,
    RouteNotice,
)
from flannel_sdk.dataplane.ownership import ROUTE_PROTOCOL
from flannel_sdk.dataplane.refusals import refusal
from flannel_sdk.dataplane.requests import (
    AddressOperation,
    Failure,
    FdbOperation,
    NeighbourOperation,
    Operation,
    RouteOperation,
    RouteSlot,
    StrayRoute,
    StrayRouteOperation,
    Via,
)
from flannel_sdk.model import MacAddress

Fault = Callable[[str], int | None]
"""Given a request's name, the errno that it fails with; None lets it pass."""


class FakeKernel:
    """One network namespace in memory. Rows are as in ``dataplane.requests``."""

    def __init__(self) -> None:
        self.links: dict[str, LinkState] = {}
        self.rows_by_index: dict[int, dict[bytes, bytes]] = {}
        self.fdb_by_index: dict[int, dict[bytes, bytes]] = {}
        self.addresses_by_index: dict[int, set[tuple[bytes, int]]] = {}
        self.route_rows: dict[RouteSlot, Via] = {}
        self.strays: set[StrayRoute] = set()
        self.requests = 0
        """Rows written or tried."""
        self.fault: Fault = lambda _: None
        self._indexes: Iterator[int] = count(2)
        self._handler: Callable[[Sequence[Notice]], None] | None = None

    # -- the Kernel protocol -----------------------------------------------------------------

    def _check(self, name: str) -> None:
        number = self.fault(name)
        if number is not None:
            raise refusal(name, number, "fault injected")

    def submit(self, operations: Sequence[Operation]) -> "asyncio.Future[list[Failure]]":
        """Carry out every row, in order, now."""
        future: asyncio.Future[list[Failure]] = asyncio.get_running_loop().create_future()
        failures = []
        for operation in operations:
            for row in range(len(operation.rows)):
                self.requests += 1
                number = self.fault(f"{operation.verb} {operation.kind}")
                number = number or self._carry_out(operation, row)
                if number:
                    failures.append(Failure(operation, row, number, errno.errorcode[number]))
        future.set_result(failures)
        return future

    async def link(self, name: str) -> LinkState | None:
        """A device by name."""
        self._check("link")
        return self.links.get(name)

    async def link_attributes(self, name: str) -> Mapping[str, object]:
        """Those that ``link`` gives."""
        self._check("link_attributes")
        return self.links[name].attributes

    async def addresses(self, index: int) -> list[tuple[bytes, int]]:
        """The addresses of a device."""
        self._check("addresses")
        return sorted(self.addresses_by_index.get(index, ()))

    async def neighbours(self, index: int) -> dict[bytes, bytes]:
        """The neighbours of a device."""
        self._check("neighbours")
        return dict(self.rows_by_index.get(index, {}))

    async def fdb(self, index: int) -> FdbDump:
        """The forwarding entries of a device."""
        self._check("fdb")
        return FdbDump(dict(self.fdb_by_index.get(index, {})), [])

    async def routes(self) -> RouteDump:
        """All routes."""
        self._check("routes")
        return RouteDump(dict(self.route_rows), list(self.strays))

    async def make_device(self, device: Device, lower: int | None) -> None:
        """Create a device, down."""
        self._check("make_device")
        if device.name in self.links:
            raise refusal(f"create the device {device.name}", errno.EEXIST, "File exists")
        mac = device.mac or MacAddress(b"\x02\xee" + len(self.links).to_bytes(4, "big"))
        self.links[device.name] = LinkState(
            next(self._indexes), device.name, device.kind, device.mtu, mac, False, False, lower,
            dict(device.attributes),
        )  # fmt: skip

    async def change_link(self, index: int, *, up: bool, mtu: int, mac: MacAddress | None) -> None:
        """Set what is given."""
        self._check("change_link")
        link = next((link for link in self.links.values() if link.ifindex == index), None)
        if link is None:
            raise refusal("change a device", errno.ENODEV, "No such device")
        self.links[link.name] = link._replace(
            up=up or link.up, running=up or link.up, mtu=mtu or link.mtu, mac=mac or link.mac
        )

    async def remove_link(self, index: int) -> None:
        """Delete a device with all that hangs on it."""
        self._check("remove_link")
        for name in [name for name, link in self.links.items() if link.ifindex == index]:
            self._forget(self.links.pop(name))

    async def disable_router_advertisements(self, name: str) -> None:
        """Nothing to do."""

    async def subscribe(self, handler: Callable[[Sequence[Notice]], None]) -> None:
        """Tell ``handler`` what the methods below do."""
        self._check("subscribe")
        self._handler = handler

    async def unsubscribe(self) -> None:
        """Tell nobody."""
        self._handler = None

    def listen_for_objects(self, listen: bool) -> None:
        """All notices are always sent."""

    # -- what others do ----------------------------------------------------------------------

    def notify(self, *notices: Notice) -> None:
        """Send notices to whoever subscribed."""
        if self._handler is not None:
            self._handler(notices)

    def add_link(self, name: str) -> None:
        """A device of somebody else's, up."""
        index = next(self._indexes)
        mac = MacAddress(b"\x02\xff" + index.to_bytes(4, "big"))
        self.links[name] = LinkState(index, name, "veth", 1500, mac, True, True, None, {})
        self.notify(LinkNotice(index, name, True, True))

    def steal_link(self, name: str) -> None:
        """Delete a device behind our back."""
        link = self.links.pop(name, None)
        if link is not None:
            self._forget(link)
            self.notify(LinkNotice(link.ifindex, name, False, False))

    def steal_route(self, slot: RouteSlot) -> None:
        """Delete a route of ours."""
        via = self.route_rows.pop(slot, None)
        if via is not None:
            address, length, _ = slot
            gone = _as_stray(slot, via)
            self.notify(RouteNotice((address, length), via, gone, False))

    def add_stray(self, stray: StrayRoute) -> None:
        """Make a route of somebody else's, in place of whatever is in its slot."""
        slot = (stray.address, stray.length, stray.metric)
        self.route_rows.pop(slot, None)
        self.strays = {one for one in self.strays if (*one[:2], one.metric) != slot} | {stray}
        self.notify(RouteNotice((stray.address, stray.length), None, stray, True))

    def steal_neighbour(self, index: int, address: bytes) -> None:
        """Delete a neighbour."""
        if self.rows_by_index.get(index, {}).pop(address, None) is not None:
            self.notify(NeighbourNotice(index, address, None, False, False))

    def steal_fdb(self, index: int, mac: bytes) -> None:
        """Delete a forwarding entry."""
        if self.fdb_by_index.get(index, {}).pop(mac, None) is not None:
            self.notify(FdbNotice(index, mac, None, False, False))

    # -- rows --------------------------------------------------------------------------------

    def _forget(self, link: LinkState) -> None:
        index = link.ifindex
        for table in (self.rows_by_index, self.fdb_by_index):
            table.pop(index, None)
        self.addresses_by_index.pop(index, None)
        for slot in [slot for slot, via in self.route_rows.items() if via.ifindex == index]:
            del self.route_rows[slot]
        self.strays = {stray for stray in self.strays if stray.ifindex != index}
        for upper in [link for link in self.links.values() if link.lower == index]:
            self.steal_link(upper.name)

    def _is_up(self, index: int) -> bool:
        return any(link.ifindex == index and link.up for link in self.links.values())

    def _carry_out(self, operation: Operation, row: int) -> int | None:
        if isinstance(operation, NeighbourOperation):
            return self._entry(self.rows_by_index, operation, row)
        if isinstance(operation, FdbOperation):
            return self._entry(self.fdb_by_index, operation, row)
        if isinstance(operation, RouteOperation | StrayRouteOperation):
            return self._route(operation, row)
        return self._address(operation, row)

    def _entry(
        self,
        tables: dict[int, dict[bytes, bytes]],
        operation: NeighbourOperation | FdbOperation,
        row: int,
    ) -> int | None:
        key, value = operation.rows[row]
        if not self._is_up(operation.ifindex):
            return errno.ENODEV
        table = tables.setdefault(operation.ifindex, {})
        if operation.verb == "remove":
            table.pop(key, None)
        else:
            table[key] = value
        return None

    def _route(self, operation: RouteOperation | StrayRouteOperation, row: int) -> int | None:
        if isinstance(operation, StrayRouteOperation):
            self._remove_route(operation.rows[row][1])
            return None
        slot, via = operation.rows[row]
        if operation.verb == "remove":
            self._remove_route(_as_stray(slot, via))
            return None
        if via.ifindex and not self._is_up(via.ifindex):
            return errno.ENETDOWN
        self.route_rows[slot] = via
        self.strays = {one for one in self.strays if (*one[:2], one.metric) != slot}
        return None

    def _remove_route(self, wanted: StrayRoute) -> None:
        """Remove the first that matches, by metric; as asked of IPv4, 0 is any metric."""
        found = [stray for stray in self.strays if _matches(wanted, stray)]
        slots = {_as_stray(slot, via): slot for slot, via in self.route_rows.items()}
        found += [route for route in slots if _matches(wanted, route)]
        if found:
            first = min(found, key=lambda route: route.metric)
            self.strays.discard(first)
            if first in slots:
                del self.route_rows[slots[first]]

    def _address(self, operation: AddressOperation, row: int) -> int | None:
        addresses = self.addresses_by_index.setdefault(operation.ifindex, set())
        if operation.verb == "remove":
            addresses.discard(operation.rows[row])
        else:
            addresses.add(operation.rows[row])
        return None


def _as_stray(slot: RouteSlot, via: Via) -> StrayRoute:
    address, length, metric = slot
    return StrayRoute(
        address, length, ROUTE_PROTOCOL, metric, ifindex=via.ifindex, gateway=via.gateway
    )


def _matches(wanted: StrayRoute, route: StrayRoute) -> bool:
    """As the kernel compares for a deletion: what is not said is not compared."""
    same = wanted[:3] == route[:3] and wanted.nexthop_id in (0, route.nexthop_id)
    return (
        same
        and (wanted.metric == route.metric or (len(route.address) == 4 and not wanted.metric))
        and wanted.ifindex in (0, route.ifindex)
        and wanted.gateway in (None, route.gateway)
    )
