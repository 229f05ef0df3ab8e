"""A kernel in memory that answers as the real one does, and fails where it is told to."""

import asyncio
import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count

from flannel_sdk.dataplane.objects import Device
from flannel_sdk.dataplane.observed import (
    FdbDump,
    FdbNotice,
    LinkNotice,
    LinkState,
    NeighbourNotice,
    NexthopDump,
    NexthopNotice,
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
    NexthopOperation,
    Operation,
    RouteKey,
    RouteOperation,
    RouteTarget,
    StrayRoute,
    StrayRouteOperation,
    Via,
)
from flannel_sdk.model import MacAddress

Fault = Callable[[str], int | None]
"""Given a request's name, the errno that it fails with; None lets it pass."""


class FakeKernel:
    """One network namespace in memory. Rows are as in ``dataplane.requests``."""

    def __init__(self, *, nexthops: bool = True) -> None:
        self.links: dict[str, LinkState] = {}
        self.rows_by_index: dict[int, dict[bytes, bytes]] = {}
        self.fdb_by_index: dict[int, dict[bytes, bytes]] = {}
        self.addresses_by_index: dict[int, set[tuple[bytes, int]]] = {}
        self.nexthop_rows: dict[int, Via] = {}
        self.foreign_nexthops: set[int] = set()
        self.route_rows: dict[RouteKey, RouteTarget] = {}
        self.strays: set[StrayRoute] = set()
        self.requests = 0
        """Rows written or tried."""
        self.fault: Fault = lambda _: None
        self._nexthops = nexthops
        self._indexes: Iterator[int] = count(2)
        self._handler: Callable[[Sequence[Notice]], None] | None = None

    # -- the Kernel protocol -----------------------------------------------------------------

    def _check(self, name: str) -> None:
        number = self.fault(name)
        if number is not None:
            raise refusal(name, number, "fault injected")

    async def nexthop_objects(self) -> bool:
        """As the constructor was told."""
        return self._nexthops

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

    async def nexthops(self, ids: range) -> NexthopDump:
        """The nexthops of a range of ids."""
        self._check("nexthops")
        mine = {key: via for key, via in self.nexthop_rows.items() if key in ids}
        return NexthopDump(mine, frozenset(self.foreign_nexthops))

    async def routes(self, indexes: Iterable[int]) -> RouteDump:
        """All routes of our protocol, and all strays of some devices."""
        self._check("routes")
        wanted = set(indexes)
        strays = [stray for stray in self.strays if stray.ifindex in wanted]
        return RouteDump(dict(self.route_rows), strays)

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

    def steal_route(self, key: RouteKey) -> None:
        """Delete a route."""
        if self.route_rows.pop(key, None) is not None:
            stray = StrayRoute(*key, ROUTE_PROTOCOL)
            self.notify(RouteNotice(key, None, stray, False))

    def steal_neighbour(self, index: int, address: bytes) -> None:
        """Delete a neighbour."""
        if self.rows_by_index.get(index, {}).pop(address, None) is not None:
            self.notify(NeighbourNotice(index, address, None, False, False))

    def steal_fdb(self, index: int, mac: bytes) -> None:
        """Delete a forwarding entry."""
        if self.fdb_by_index.get(index, {}).pop(mac, None) is not None:
            self.notify(FdbNotice(index, mac, None, False, False))

    def steal_nexthop(self, nexthop_id: int) -> None:
        """Delete a nexthop; the routes on it go without a notice, as IPv4's do."""
        if self._drop_nexthop(nexthop_id) is None:
            self.notify(NexthopNotice(nexthop_id, None, ROUTE_PROTOCOL, False))

    # -- rows --------------------------------------------------------------------------------

    def _forget(self, link: LinkState) -> None:
        index = link.ifindex
        for table in (self.rows_by_index, self.fdb_by_index):
            table.pop(index, None)
        self.addresses_by_index.pop(index, None)
        for nexthop_id in [key for key, via in self.nexthop_rows.items() if via.ifindex == index]:
            self._drop_nexthop(nexthop_id)
        for key, target in list(self.route_rows.items()):
            if isinstance(target, Via) and target.ifindex == index:
                del self.route_rows[key]
        self.strays = {stray for stray in self.strays if stray.ifindex != index}
        for upper in [link for link in self.links.values() if link.lower == index]:
            self.steal_link(upper.name)

    def _drop_nexthop(self, nexthop_id: int) -> int | None:
        if self.nexthop_rows.pop(nexthop_id, None) is None:
            return errno.ENOENT
        for key in [key for key, target in self.route_rows.items() if target == nexthop_id]:
            del self.route_rows[key]
        return None

    def _is_up(self, index: int) -> bool:
        return any(link.ifindex == index and link.up for link in self.links.values())

    def _carry_out(self, operation: Operation, row: int) -> int | None:
        if isinstance(operation, NeighbourOperation):
            return self._entry(self.rows_by_index, operation, row)
        if isinstance(operation, FdbOperation):
            return self._entry(self.fdb_by_index, operation, row)
        if isinstance(operation, NexthopOperation):
            return self._nexthop(operation, row)
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

    def _nexthop(self, operation: NexthopOperation, row: int) -> int | None:
        nexthop_id, via = operation.rows[row]
        if operation.verb == "remove":
            self._drop_nexthop(nexthop_id)
            return None
        taken = nexthop_id in self.foreign_nexthops or nexthop_id in self.nexthop_rows
        if operation.verb == "create" and taken:
            return errno.EEXIST
        if not self._is_up(via.ifindex):
            return errno.ENETDOWN
        self.nexthop_rows[nexthop_id] = via
        return None

    def _route(self, operation: RouteOperation | StrayRouteOperation, row: int) -> int | None:
        if isinstance(operation, StrayRouteOperation):
            key, stray = operation.rows[row]
            if stray in self.strays:
                self.strays.discard(stray)
            elif stray.nexthop_id in (0, self.route_rows.get(key)):
                self.route_rows.pop(key, None)
            return None
        key, target = operation.rows[row]
        if operation.verb == "remove":
            if self.route_rows.get(key) == target:
                del self.route_rows[key]
            return None
        if isinstance(target, Via):
            if not self._is_up(target.ifindex):
                return errno.ENETDOWN
        elif target not in self.nexthop_rows:
            return errno.EINVAL
        self.route_rows[key] = target
        self.strays = {s for s in self.strays if (s.address, s.length) != key or s.metric}
        return None

    def _address(self, operation: AddressOperation, row: int) -> int | None:
        addresses = self.addresses_by_index.setdefault(operation.ifindex, set())
        if operation.verb == "remove":
            addresses.discard(operation.rows[row])
        else:
            addresses.add(operation.rows[row])
        return None
