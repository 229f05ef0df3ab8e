"""RTM_NEWROUTE, RTM_DELROUTE and their dumps: unicast routes of the main table."""

import socket
from functools import cache
from struct import Struct
from typing import Final

from flannel_sdk.dataplane.observed import RouteDump, RouteNotice
from flannel_sdk.dataplane.ownership import ROUTE_PROTOCOL
from flannel_sdk.dataplane.requests import (
    RouteKey,
    RouteOperation,
    RouteTarget,
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
_SHAPES: Final = {size: Struct(f"=8sI20s{size}s4sI") for size in (4, 16)}
_NH_ID: Final = ATTRIBUTE.pack(8, RTA_NH_ID)


def _family(size: int) -> int:
    return socket.AF_INET if size == 4 else socket.AF_INET6


@cache
def _shape(verb: str, size: int, length: int) -> tuple[bytes, bytes]:
    kind, flags = _CREATE[verb]
    scope = RT_SCOPE_UNIVERSE if verb == "put" else RT_SCOPE_NOWHERE
    body = RTMSG.pack(
        _family(size), length, 0, 0, RT_TABLE_MAIN, ROUTE_PROTOCOL, scope, RTN_UNICAST, 0
    )
    middle = bytes(4) + body + ATTRIBUTE.pack(4 + size, RTA_DST)
    return HEAD.pack(40 + size, kind, flags), middle


def encode_routes(operation: RouteOperation, sequence: int) -> list[bytes]:
    """A message for each row, numbered from ``sequence``."""
    verb, rows, _ = operation
    messages = []
    last_size = last_length = -1
    pack, head, middle = _SHAPES[4].pack, b"", b""
    for row_number, ((address, length), target) in enumerate(rows, sequence):
        if target.__class__ is Via:
            messages.append(_plain(verb, address, length, target, row_number))
            continue
        size = len(address)
        if size != last_size or length != last_length:
            last_size, last_length = size, length
            pack = _SHAPES[size].pack
            head, middle = _shape(verb, size, length)
        messages.append(pack(head, row_number, middle, address, _NH_ID, target))
    return messages


def _plain(verb: str, address: bytes, length: int, via: Via, sequence: int) -> bytes:
    kind, flags = _CREATE[verb]
    scope = RT_SCOPE_NOWHERE
    if verb == "put":
        local = via.gateway is None and len(address) == 4
        scope = RT_SCOPE_LINK if local else RT_SCOPE_UNIVERSE
    onlink = RTNH_F_ONLINK if via.onlink else 0
    body = RTMSG.pack(
        _family(len(address)), length, 0, 0, RT_TABLE_MAIN, ROUTE_PROTOCOL, scope, RTN_UNICAST,
        onlink,
    )  # fmt: skip
    body += attribute(RTA_DST, address) + word(RTA_OIF, via.ifindex)
    if via.gateway is not None:
        body += attribute(RTA_GATEWAY, via.gateway)
    return message(kind, flags, sequence, body)


def encode_strays(operation: StrayRouteOperation, sequence: int) -> list[bytes]:
    """A deletion for each row, as exact as the kernel can be asked, numbered from ``sequence``."""
    messages = []
    for row_number, (_, route) in enumerate(operation.rows, sequence):
        body = RTMSG.pack(
            _family(len(route.address)), route.length, 0, route.tos, RT_TABLE_MAIN, route.protocol,
            RT_SCOPE_NOWHERE, RTN_UNICAST, 0,
        )  # fmt: skip
        body += attribute(RTA_DST, route.address)
        if route.metric:
            body += word(RTA_PRIORITY, route.metric)
        if route.nexthop_id:
            body += word(RTA_NH_ID, route.nexthop_id)
        else:
            if route.ifindex:
                body += word(RTA_OIF, route.ifindex)
            if route.gateway is not None:
                body += attribute(RTA_GATEWAY, route.gateway)
        messages.append(message(RTM_DELROUTE, NLM_F_REQUEST, row_number, body))
    return messages


def route_dump(family: int, sequence: int, *, index: int = 0) -> bytes:
    """A request for the routes of one device in all tables, else for ours in the main table."""
    table, protocol = (0, 0) if index else (RT_TABLE_MAIN, ROUTE_PROTOCOL)
    body = RTMSG.pack(family, 0, 0, 0, table, protocol, 0, 0, 0)
    if index:
        body += word(RTA_OIF, index)
    return message(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, sequence, body)


_MULTI: Final = frozenset(
    HEAD.pack(0, RTM_NEWROUTE, flags)[4:]
    for flags in (NLM_F_MULTI, NLM_F_MULTI | NLM_F_DUMP_FILTERED)
)
_MAIN: Final = word(RTA_TABLE, RT_TABLE_MAIN)
_REST: Final = bytes([0, 0, RT_TABLE_MAIN, ROUTE_PROTOCOL, RT_SCOPE_UNIVERSE, RTN_UNICAST])
_METRIC: Final = word(RTA_PRIORITY, IPV6_DEFAULT_METRIC)


class RouteParser:
    """Collects routes out of dumps; the kernel's own are left out."""

    def __init__(self, family: int, dump: RouteDump) -> None:
        self.kind = RTM_NEWROUTE
        self.dump = dump
        self._family = family
        size = 4 if family == socket.AF_INET else 16
        metric = b"" if size == 4 else _METRIC
        self._unpack = Struct(f"=I4s8xBB6sI8s4s{size}s{len(metric)}s4sI").unpack_from
        self._shortest = 16 + 12 + 8 + 4 + size + len(metric) + 8
        self._destination = ATTRIBUTE.pack(4 + size, RTA_DST)
        self._metric = metric

    def fast(self, buffer: Buffer, offset: int, end: int) -> int:
        """Read messages of the usual layout; returns where the first unusual one starts."""
        rows, unpack, last = self.dump.rows, self._unpack, end - self._shortest
        expected, expected_metric = self._destination, self._metric
        while offset <= last:
            (length, head, _, bits, rest, _, table, destination, address, metric, h_id,
             nexthop_id) = unpack(buffer, offset)  # fmt: skip
            if (
                head not in _MULTI
                or rest != _REST
                or table != _MAIN
                or destination != expected
                or metric != expected_metric
                or h_id != _NH_ID
            ):
                break
            rows[address, bits] = nexthop_id
            offset += length + 3 & ~3
        return offset

    def slow(self, buffer: Buffer, offset: int, end: int) -> None:
        """Read one message of any layout."""
        notice = parse_route(buffer, offset, end, present=True)
        if notice is None or notice.route.protocol == RTPROT_KERNEL:
            return
        if notice.target is None:
            self.dump.strays.append(notice.route)
        else:
            self.dump.rows[notice.key] = notice.target


def parse_route(buffer: Buffer, offset: int, end: int, *, present: bool) -> RouteNotice | None:
    """Read one RTM_NEWROUTE or RTM_DELROUTE message; None for cached and non-unicast routes."""
    family, length, source, tos, table, protocol, _, kind, flags = RTMSG.unpack_from(
        buffer, offset + 16
    )
    if flags & RTM_F_CLONED or kind != RTN_UNICAST or family not in (2, 10):
        return None
    found = attributes(buffer, offset + 28, end)
    address = found.get(RTA_DST) or bytes(4 if family == socket.AF_INET else 16)
    metric = number(found.get(RTA_PRIORITY))
    if family == socket.AF_INET6 and metric == IPV6_DEFAULT_METRIC:
        metric = 0
    table = number(found.get(RTA_TABLE)) or table
    nexthop_id, index = number(found.get(RTA_NH_ID)), number(found.get(RTA_OIF))
    gateway = found.get(RTA_GATEWAY)
    route = StrayRoute(address, length, protocol, metric, tos, nexthop_id, index, gateway, table)
    target: RouteTarget | None = None
    usual = table == RT_TABLE_MAIN and protocol == ROUTE_PROTOCOL
    if usual and not (metric or tos or source or found.keys() & _UNUSUAL):
        target = nexthop_id or Via(index, gateway, bool(flags & RTNH_F_ONLINK))
    key: RouteKey = (address, length)
    return RouteNotice(key, target, route, present)


_UNUSUAL: Final = {RTA_MULTIPATH, RTA_VIA, RTA_ENCAP}
