"""RTM_NEWROUTE, RTM_DELROUTE and their dumps: unicast routes of the main table."""

import socket
from functools import cache
from struct import Struct
from typing import Final

from flannel_sdk.dataplane.metrics import BLACKHOLE_METRIC
from flannel_sdk.dataplane.observed import RouteDump, RouteNotice
from flannel_sdk.dataplane.ownership import ROUTE_PROTOCOL
from flannel_sdk.dataplane.requests import (
    RouteKey,
    RouteOperation,
    RouteSlot,
    StrayRoute,
    StrayRouteOperation,
    Via,
)
from flannel_sdk.netlink.constants import (
    IPV6_DEFAULT_METRIC,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_DUMP_FILTERED,
    NLM_F_MULTI,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_ENCAP,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_NH_ID,
    RTA_OIF,
    RTA_PRIORITY,
    RTA_TABLE,
    RTA_VIA,
    RTM_DELROUTE,
    RTM_F_CLONED,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTN_BLACKHOLE,
    RTN_UNICAST,
    RTNH_F_ONLINK,
    RTPROT_KERNEL,
)
from flannel_sdk.netlink.messages import (
    ATTRIBUTE,
    HEAD,
    Buffer,
    attribute,
    attributes,
    message,
    number,
    word,
)

RTMSG: Final = Struct("=BBBBBBBBI")
"""rtmsg: family, destination length, source length, tos, table, protocol, scope, type, flags."""
_PUT: Final = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE
_CREATE: Final = {"put": (RTM_NEWROUTE, _PUT), "remove": (RTM_DELROUTE, NLM_F_REQUEST)}
_SHAPES: Final = {size: Struct(f"=8sI20s{size}s4sI4s{size}s4sI") for size in (4, 16)}
"""Header half, sequence number, constant up to the destination, destination, metric, gateway and
device, each after its attribute header."""
_PRIORITY: Final = ATTRIBUTE.pack(8, RTA_PRIORITY)
_OIF: Final = ATTRIBUTE.pack(8, RTA_OIF)
_GATEWAY: Final = {size: ATTRIBUTE.pack(4 + size, RTA_GATEWAY) for size in (4, 16)}
_DEFAULT_METRIC: Final = {4: 0, 16: IPV6_DEFAULT_METRIC}


def _family(size: int) -> int:
    return socket.AF_INET if size == 4 else socket.AF_INET6


@cache
def _shape(verb: str, size: int, length: int, onlink: bool) -> tuple[bytes, bytes]:
    kind, flags = _CREATE[verb]
    scope = RT_SCOPE_UNIVERSE if verb == "put" else RT_SCOPE_NOWHERE
    body = RTMSG.pack(
        _family(size), length, 0, 0, RT_TABLE_MAIN, ROUTE_PROTOCOL, scope, RTN_UNICAST,
        RTNH_F_ONLINK if onlink else 0,
    )  # fmt: skip
    middle = bytes(4) + body + ATTRIBUTE.pack(4 + size, RTA_DST)
    return HEAD.pack(_SHAPES[size].size, kind, flags), middle


def encode_routes(operation: RouteOperation, sequence: int) -> list[bytes]:
    """A message for each row, numbered from ``sequence``."""
    verb, rows, _ = operation
    messages = []
    last: tuple[int, int, bool] | None = None
    pack, head, middle, h_gateway, default = _SHAPES[4].pack, b"", b"", b"", 0
    for row_number, (slot, (index, gateway, onlink)) in enumerate(rows, sequence):
        if gateway is None:
            messages.append(_on_link(verb, slot, index, row_number))
            continue
        address, length, metric = slot
        size = len(address)
        if last != (size, length, onlink):
            last = size, length, onlink
            pack, h_gateway = _SHAPES[size].pack, _GATEWAY[size]
            head, middle = _shape(verb, size, length, onlink)
            default = _DEFAULT_METRIC[size]
        messages.append(
            pack(head, row_number, middle, address, _PRIORITY, metric or default, h_gateway,
                 gateway, _OIF, index)
        )  # fmt: skip
    return messages


def _on_link(verb: str, slot: RouteSlot, index: int, sequence: int) -> bytes:
    address, length, metric = slot
    kind, flags = _CREATE[verb]
    size = len(address)
    scope = RT_SCOPE_NOWHERE
    if verb == "put":
        scope = RT_SCOPE_LINK if size == 4 and index else RT_SCOPE_UNIVERSE
    route_type = RTN_UNICAST if index else RTN_BLACKHOLE
    body = RTMSG.pack(
        _family(size), length, 0, 0, RT_TABLE_MAIN, ROUTE_PROTOCOL, scope, route_type, 0
    )
    body += attribute(RTA_DST, address)
    if index:
        body += word(RTA_OIF, index)
    metric = metric or _DEFAULT_METRIC[size]
    if metric:
        body += word(RTA_PRIORITY, metric)
    return message(kind, flags, sequence, body)


def encode_strays(operation: StrayRouteOperation, sequence: int) -> list[bytes]:
    """A deletion for each row, as exact as the kernel can be asked, numbered from ``sequence``."""
    messages = []
    for row_number, (_, route) in enumerate(operation.rows, sequence):
        body = RTMSG.pack(
            _family(len(route.address)), route.length, 0, route.tos, RT_TABLE_MAIN, route.protocol,
            RT_SCOPE_NOWHERE, route.type, 0,
        )  # fmt: skip
        body += attribute(RTA_DST, route.address)
        # The kernel takes 0 for any: for IPv4 there is no way to ask for exactly 0.
        metric = route.metric or _DEFAULT_METRIC[len(route.address)]
        if metric:
            body += word(RTA_PRIORITY, metric)
        if route.nexthop_id:
            body += word(RTA_NH_ID, route.nexthop_id)
        else:
            if route.ifindex:
                body += word(RTA_OIF, route.ifindex)
            if route.gateway is not None:
                body += attribute(RTA_GATEWAY, route.gateway)
        messages.append(message(RTM_DELROUTE, NLM_F_REQUEST, row_number, body))
    return messages


def route_dump(family: int, sequence: int) -> bytes:
    """A request for the main table."""
    body = RTMSG.pack(family, 0, 0, 0, RT_TABLE_MAIN, 0, 0, 0, 0)
    return message(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, sequence, body)


_MULTI: Final = frozenset(
    HEAD.pack(0, RTM_NEWROUTE, flags)[4:]
    for flags in (NLM_F_MULTI, NLM_F_MULTI | NLM_F_DUMP_FILTERED)
)
_MAIN: Final = word(RTA_TABLE, RT_TABLE_MAIN)
_REST: Final = bytes([0, 0, RT_TABLE_MAIN, ROUTE_PROTOCOL, RT_SCOPE_UNIVERSE, RTN_UNICAST])
_IPV6_TAIL: Final = 44
"""Bytes of the attributes that end each IPv6 route: times, preference."""


class RouteParser:
    """Collects the main table out of its dump; the kernel's own routes are left out."""

    def __init__(self, family: int) -> None:
        self.kind = RTM_NEWROUTE
        self.dump = RouteDump({}, [])
        self._six = family == socket.AF_INET6
        size = 16 if self._six else 4
        shape = Struct(f"=I4s8xBB6sI8s4s{size}s4sI4s{size}s4sI")
        self._unpack = shape.unpack_from
        self._length = shape.size + (_IPV6_TAIL if self._six else 0)
        self._destination = ATTRIBUTE.pack(4 + size, RTA_DST)
        self._gateway = _GATEWAY[size]

    def fast(self, buffer: Buffer, offset: int, end: int) -> int:
        """Read routes with a gateway as we write them; returns where the first other starts."""
        rows, unpack, size, six = self.dump.rows, self._unpack, self._length, self._six
        expected, expected_gateway = self._destination, self._gateway
        last = end - size
        while offset <= last:
            (length, head, _, bits, rest, flags, table, destination, address, h_metric, metric,
             h_gateway, gateway, h_oif, index) = unpack(buffer, offset)  # fmt: skip
            if (
                length != size
                or head not in _MULTI
                or rest != _REST
                or table != _MAIN
                or destination != expected
                or h_metric != _PRIORITY
                or h_gateway != expected_gateway
                or h_oif != _OIF
            ):
                break
            if six:
                if metric != IPV6_DEFAULT_METRIC:
                    break
                metric = 0
            rows[address, bits, metric] = Via(index, gateway, flags & RTNH_F_ONLINK != 0)
            offset += length
        return offset

    def slow(self, buffer: Buffer, offset: int, end: int) -> None:
        """Read one message of any layout."""
        if buffer[offset + 21] == RTPROT_KERNEL:
            return
        notice = parse_route(buffer, offset, end, present=True)
        if notice is None:
            return
        slot = (*notice.key, notice.route.metric)
        if notice.target is None or slot in self.dump.rows:
            self.dump.strays.append(notice.route)
        else:
            self.dump.rows[slot] = notice.target


def parse_route(buffer: Buffer, offset: int, end: int, *, present: bool) -> RouteNotice | None:
    """Read one RTM_NEWROUTE or RTM_DELROUTE message; None for what carries no pod's packets."""
    family, length, source, tos, table, protocol, _, kind, flags = RTMSG.unpack_from(
        buffer, offset + 16
    )
    if flags & RTM_F_CLONED or kind not in _TYPES or family not in (2, 10):
        return None
    found = attributes(buffer, offset + 28, end)
    address = found.get(RTA_DST) or bytes(4 if family == socket.AF_INET else 16)
    metric = number(found.get(RTA_PRIORITY))
    if family == socket.AF_INET6 and metric == IPV6_DEFAULT_METRIC:
        metric = 0
    table = number(found.get(RTA_TABLE)) or table
    nexthop_id, index = number(found.get(RTA_NH_ID)), number(found.get(RTA_OIF))
    gateway = found.get(RTA_GATEWAY)
    route = StrayRoute(
        address, length, protocol, metric, tos, nexthop_id, index, gateway, table, kind
    )
    target: Via | None = None
    usual = table == RT_TABLE_MAIN and protocol == ROUTE_PROTOCOL and kind == RTN_UNICAST
    with_metric = gateway is not None and family == socket.AF_INET
    if usual and bool(metric) == with_metric and not (tos or source or found.keys() & _UNUSUAL):
        target = Via(index, gateway, bool(flags & RTNH_F_ONLINK))
    elif kind == RTN_BLACKHOLE and route[2:5] == _BLACKHOLE and table == RT_TABLE_MAIN:
        target = Via(0, None)  # for IPv6 the kernel tells of lo
    key: RouteKey = (address, length)
    return RouteNotice(key, target, route, present)


_BLACKHOLE: Final = (ROUTE_PROTOCOL, BLACKHOLE_METRIC, 0)
"""Protocol, metric and tos of ours."""
_UNUSUAL: Final = {RTA_MULTIPATH, RTA_VIA, RTA_ENCAP, RTA_NH_ID}
_TYPES: Final = frozenset({RTN_UNICAST, RTN_BLACKHOLE, 7, 8, 9})
"""Unicast, blackhole, unreachable, prohibit, throw: not local, broadcast or multicast routes."""
