"""Sorts notices: what of ours was touched, what concerns the underlay, what may be ignored."""

import asyncio
from collections.abc import Sequence

from flannel_sdk.dataplane.desired import DesiredState, FdbKey, Key, NeighbourKey, RouteKey
from flannel_sdk.dataplane.lowering import Lowering
from flannel_sdk.dataplane.observed import (
    AddressNotice,
    FdbNotice,
    LinkNotice,
    NeighbourNotice,
    NexthopNotice,
    Notice,
    RouteNotice,
)
from flannel_sdk.dataplane.ownership import Ownership
from flannel_sdk.dataplane.requests import RouteTarget, Via
from flannel_sdk.model import IPAddress, Prefix


class NoticeSorter:
    """Collects what has to be repaired; cheap for what is not ours."""

    def __init__(self, desired: DesiredState, lowering: Lowering, ownership: Ownership) -> None:
        self._desired = desired
        self._lowering = lowering
        self._ownership = ownership
        self.watched: set[str] = set()
        """Devices that our objects need, lower devices included."""
        self.wake = asyncio.Event()
        self.underlay = asyncio.Event()
        self.dirty: dict[Key, None] = {}
        """Keys that somebody else changed."""
        self.doubled: list[tuple[int, bytes, bytes]] = []
        """Device index, MAC and destination of entries that somebody else made beside ours."""
        self.audit = False
        """Compare everything."""
        self.overrun = False
        """Notices were lost."""
        self.links = False
        """A device of interest changed."""
        self.node = False
        """An address of a device of ours changed."""

    def take(self, notices: Sequence[Notice]) -> None:
        """Sort some notices and wake the repair if there is something to do."""
        for notice in notices:
            if isinstance(notice, FdbNotice):
                self._fdb(notice)
            elif isinstance(notice, NeighbourNotice):
                self._neighbour(notice)
            elif isinstance(notice, RouteNotice):
                self._route(notice)
            elif isinstance(notice, NexthopNotice):
                self._nexthop(notice)
            elif isinstance(notice, LinkNotice):
                self._link(notice)
            elif isinstance(notice, AddressNotice):
                self._address(notice)
            else:
                self.overrun = True
                self.underlay.set()
        if self.dirty or self.audit or self.overrun or self.links or self.node or self.doubled:
            self.wake.set()

    def _device(self, index: int) -> str | None:
        for name, known in self._lowering.indexes.items():
            if known == index:
                return name
        return None

    def _fdb(self, notice: FdbNotice) -> None:
        device = self._device(notice.ifindex)
        table = self._desired.fdb.get(device) if device is not None else None
        wanted = table.rows.get(notice.mac) if table else None
        if device is None or wanted is None:
            return
        if notice.present and notice.permanent and notice.destination == wanted:
            return
        self.dirty[FdbKey(device, notice.mac)] = None
        if notice.present and notice.destination not in (None, wanted):
            self.doubled.append((notice.ifindex, notice.mac, notice.destination or b""))

    def _neighbour(self, notice: NeighbourNotice) -> None:
        device = self._device(notice.ifindex)
        table = self._desired.neighbours.get(device) if device is not None else None
        wanted = table.rows.get(notice.address) if table else None
        if device is None or wanted is None:
            return
        if not (notice.present and notice.permanent and notice.mac == wanted):
            self.dirty[NeighbourKey(device, notice.address)] = None

    def _nexthop(self, notice: NexthopNotice) -> None:
        key = self._lowering.ids.routes.get(notice.id)
        if key is None:
            return
        route = self._desired.routes.rows.get(Prefix(IPAddress(key[0]), key[1]))
        if route is None:
            return
        index = self._lowering.indexes.get(route.device, 0)
        if not notice.present or notice.via != Via(index, route.gateway, route.onlink):
            self.dirty[RouteKey(*key)] = None

    def _route(self, notice: RouteNotice) -> None:
        route, ids = notice.route, self._lowering.ids
        wanted = self._desired.routes.rows.get(Prefix(IPAddress(route.address), route.length))
        main = route.table == 254 and not route.metric and not route.tos
        if wanted is not None and main:
            if not (notice.present and notice.target == self._target(notice, wanted.device)):
                self.dirty[RouteKey(route.address, route.length)] = None
            return
        if route.nexthop_id in ids.range:
            if notice.present:
                ids.used_by_others.add(route.nexthop_id)
            return
        if self._device(route.ifindex) not in self._ownership.devices:
            self.underlay.set()

    def _target(self, notice: RouteNotice, device: str) -> RouteTarget | None:
        known = self._lowering.ids.by_route.get(notice.key)
        if known is not None:
            return known
        wanted = self._desired.routes.rows[Prefix(IPAddress(notice.key[0]), notice.key[1])]
        return Via(self._lowering.indexes.get(device, 0), wanted.gateway, wanted.onlink)

    def _link(self, notice: LinkNotice) -> None:
        if notice.name in self.watched or self._device(notice.ifindex) is not None:
            self.links = True
            # Going down, the kernel drops routes and nexthops without a word.
            self.audit = self.audit or not (notice.present and notice.up)
        if notice.name not in self._ownership.devices:
            self.underlay.set()

    def _address(self, notice: AddressNotice) -> None:
        if self._device(notice.ifindex) in self._ownership.devices:
            self.node = True
        else:
            self.underlay.set()
