"""RTM_NEWNEXTHOP, RTM_DELNEXTHOP and their dumps: nexthop objects with one way out."""

import socket
from struct import Struct
from typing import Final

from flannel_sdk.dataplane.observed import NexthopNotice
from flannel_sdk.dataplane.ownership import ROUTE_PROTOCOL
from flannel_sdk.dataplane.requests import NexthopOperation, Via
from flannel_sdk.netlink.constants import (
    NHA_BLACKHOLE,
    NHA_ENCAP,
    NHA_FDB,
    NHA_GATEWAY,
    NHA_GROUP,
    NHA_ID,
    NHA_OIF,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_MULTI,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    RTM_DELNEXTHOP,
    RTM_GETNEXTHOP,
    RTM_NEWNEXTHOP,
    RTNH_F_ONLINK,
)
from flannel_sdk.netlink.messages import (
    ATTRIBUTE,
    HEAD,
    Buffer,
    attributes,
    message,
    number,
    word,
)

NHMSG: Final = Struct("=BBBBI")
"""nhmsg: family, scope, protocol, reserved, flags."""
_FLAGS: Final = {
    "put": NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE,
    "create": NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
}
_SHAPES: Final = {size: Struct(f"=8sI16sI4sI4s{size}s") for size in (4, 16)}
_OIF: Final = ATTRIBUTE.pack(8, NHA_OIF)
_ID: Final = ATTRIBUTE.pack(8, NHA_ID)
_MULTI: Final = HEAD.pack(0, RTM_NEWNEXTHOP, NLM_F_MULTI)[4:]
_DUMPED: Final = [
    (Struct(f"=I4s8xBBBBI4sI4sI4s{size}s"), ATTRIBUTE.pack(4 + size, NHA_GATEWAY))
    for size in (4, 16)
]
"""A nexthop as it is dumped, for each family of its gateway."""


def _middle(family: int, onlink: bool) -> bytes:
    body = NHMSG.pack(family, 0, ROUTE_PROTOCOL, 0, RTNH_F_ONLINK if onlink else 0)
    return bytes(4) + body + _ID


_MIDDLES: Final = {
    (size, onlink): _middle(family, onlink)
    for size, family in ((4, socket.AF_INET), (16, socket.AF_INET6))
    for onlink in (False, True)
}


def encode_nexthops(operation: NexthopOperation, sequence: int) -> list[bytes]:
    """A message for each row, numbered from ``sequence``."""
    verb, rows, _ = operation
    if verb == "remove":
        empty = NHMSG.pack(0, 0, 0, 0, 0)
        return [
            message(RTM_DELNEXTHOP, NLM_F_REQUEST, row_number, empty + word(NHA_ID, row[0]))
            for row_number, row in enumerate(rows, sequence)
        ]
    flags = _FLAGS[verb]
    shapes = {
        size: (
            _SHAPES[size].pack,
            HEAD.pack(44 + size, RTM_NEWNEXTHOP, flags),
            ATTRIBUTE.pack(4 + size, NHA_GATEWAY),
        )
        for size in (4, 16)
    }
    messages = []
    for row_number, (nexthop_id, (index, gateway, onlink)) in enumerate(rows, sequence):
        if gateway is None:
            raise ValueError("a nexthop object of ours has a gateway")
        size = len(gateway)
        pack, head, header = shapes[size]
        middle = _MIDDLES[size, onlink]
        messages.append(pack(head, row_number, middle, nexthop_id, _OIF, index, header, gateway))
    return messages


def nexthop_dump(sequence: int) -> bytes:
    """A request for all nexthop objects."""
    body = NHMSG.pack(0, 0, 0, 0, 0)
    return message(RTM_GETNEXTHOP, NLM_F_REQUEST | NLM_F_DUMP, sequence, body)


class NexthopParser:
    """Collects the nexthop objects of one range of ids out of a dump."""

    def __init__(self, ids: range) -> None:
        self.kind = RTM_NEWNEXTHOP
        self.rows: dict[int, NexthopNotice] = {}
        self.vias: dict[int, Via] = {}
        self._ids = ids

    def fast(self, buffer: Buffer, offset: int, end: int) -> int:
        """Read messages of the usual layout; returns where the first unusual one starts."""
        for shape, expected in _DUMPED:
            offset = self._run(buffer, offset, end, shape, expected)
        return offset

    def _run(self, buffer: Buffer, offset: int, end: int, shape: Struct, expected: bytes) -> int:
        vias, ids, size, unpack = self.vias, self._ids, shape.size, shape.unpack_from
        last = end - size
        while offset <= last:
            (length, head, _, _, protocol, _, flags, h_id, nexthop_id, h_oif, index, h_gateway,
             gateway) = unpack(buffer, offset)  # fmt: skip
            if (
                head != _MULTI
                or protocol != ROUTE_PROTOCOL
                or h_id != _ID
                or h_oif != _OIF
                or h_gateway != expected
                or length != size
                or nexthop_id not in ids
            ):
                break
            vias[nexthop_id] = Via(index, gateway, flags & RTNH_F_ONLINK != 0)
            offset += length
        return offset

    def slow(self, buffer: Buffer, offset: int, end: int) -> None:
        """Read one message of any layout."""
        notice = parse_nexthop(buffer, offset, end, present=True)
        if notice.id not in self._ids:
            return
        if notice.protocol == ROUTE_PROTOCOL and notice.via is not None:
            self.vias[notice.id] = notice.via
        else:
            self.rows[notice.id] = notice


def parse_nexthop(buffer: Buffer, offset: int, end: int, *, present: bool) -> NexthopNotice:
    """Read one RTM_NEWNEXTHOP or RTM_DELNEXTHOP message."""
    _, _, protocol, _, flags = NHMSG.unpack_from(buffer, offset + 16)
    found = attributes(buffer, offset + 24, end)
    via = None
    if not found.keys() & {NHA_GROUP, NHA_BLACKHOLE, NHA_ENCAP, NHA_FDB}:
        via = Via(number(found.get(NHA_OIF)), found.get(NHA_GATEWAY), bool(flags & RTNH_F_ONLINK))
    return NexthopNotice(number(found.get(NHA_ID)), via, protocol, present)
