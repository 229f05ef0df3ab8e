"""Sorts notices: what of ours was touched, what concerns the underlay, what may be ignored."""

import asyncio
from collections.abc import Sequence

from flannel_sdk.dataplane.desired import DesiredState, FdbKey, Key, NeighbourKey, RouteKey
from flannel_sdk.dataplane.lowering import Lowering
from flannel_sdk.dataplane.metrics import route_metric
from flannel_sdk.dataplane.observed import (
    AddressNotice,
    FdbNotice,
    LinkNotice,
    NeighbourNotice,
    Notice,
    RouteNotice,
)
from flannel_sdk.dataplane.ownership import Ownership
from flannel_sdk.dataplane.requests import MAIN_TABLE, Via
from flannel_sdk.dataplane.rivals import in_the_way
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
        self.unheard = False
        """We did not listen for a while."""
        self.links = False
        """A device of interest changed."""
        self.node = False
        """An address of a device of ours changed."""
        self.retry = False
        """A device of interest has an address more: what was refused may go now."""

    def take(self, notices: Sequence[Notice]) -> None:
        """Sort some notices and wake the repair if there is something to do."""
        for notice in notices:
            if isinstance(notice, FdbNotice):
                self._fdb(notice)
            elif isinstance(notice, NeighbourNotice):
                self._neighbour(notice)
            elif isinstance(notice, RouteNotice):
                self._route(notice)
            elif isinstance(notice, LinkNotice):
                self._link(notice)
            elif isinstance(notice, AddressNotice):
                self._address(notice)
            else:
                self.overrun = True
                self.underlay.set()
        if self.audit or self.overrun or self.links or self.node or self.retry:
            self.wake.set()
        if self.dirty or self.doubled:
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

    def _route(self, notice: RouteNotice) -> None:
        route = notice.route
        if route.table == MAIN_TABLE and not route.tos and self._touches(notice):
            return
        if route.ifindex not in self._lowering.own:
            self.underlay.set()

    def _touches(self, notice: RouteNotice) -> bool:
        """True if a notice is about a route that we want, or one in its way."""
        route, lowering = notice.route, self._lowering
        wanted = self._desired.routes.rows.get(Prefix(IPAddress(route.address), route.length))
        metric = route_metric(wanted) if wanted is not None else 0
        if wanted is not None and route.metric == metric and notice.present:
            index = lowering.indexes.get(wanted.device, 0)
            if notice.target == Via(index, wanted.gateway, wanted.onlink):
                return True
        lowering.rivals.note(route, present=notice.present)
        if wanted is None:
            return False
        in_its_way = notice.present and in_the_way(route, metric, lowering.own)
        if route.metric != metric and not in_its_way:
            return False
        self.dirty[RouteKey(route.address, route.length)] = None
        return True

    def _link(self, notice: LinkNotice) -> None:
        if notice.name in self.watched or self._device(notice.ifindex) is not None:
            self.links = True
            # Going down, the kernel drops routes without a word.
            self.audit = self.audit or not (notice.present and notice.up)
        if notice.name not in self._ownership.devices:
            self.underlay.set()

    def _address(self, notice: AddressNotice) -> None:
        device = self._device(notice.ifindex)
        if device is not None and not notice.present and len(notice.address) == 4:
            # With the last address of a device the kernel drops its routes, without a word.
            self.audit = True
        self.retry = self.retry or (device is not None and notice.present)
        if device in self._ownership.devices:
            self.node = True
        else:
            self.underlay.set()
