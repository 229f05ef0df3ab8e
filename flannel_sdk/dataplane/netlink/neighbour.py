"""RTM_NEWNEIGH, RTM_DELNEIGH and their dumps: ARP and ND entries, and the FDB of a device."""

import socket
from collections.abc import Callable
from struct import Struct
from typing import Final

from flannel_sdk.dataplane.observed import FdbDump, FdbNotice, NeighbourNotice
from flannel_sdk.dataplane.requests import FdbOperation, NeighbourOperation
from flannel_sdk.netlink.constants import (
    AF_BRIDGE,
    NDA_DST,
    NDA_IFINDEX,
    NDA_LLADDR,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_DUMP_FILTERED,
    NLM_F_MULTI,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    NTF_SELF,
    NUD_PERMANENT,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
)
from flannel_sdk.netlink.messages import (
    ATTRIBUTE,
    HEAD,
    Buffer,
    attributes,
    message,
    word,
)

NDMSG: Final = Struct("=BxxxiHBB")
"""ndmsg: family, device index, state, flags, type."""
_PUT: Final = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE
_HEADS: Final = {
    (verb, size): HEAD.pack(44 + size, kind, flags)
    for size in (4, 16)
    for verb, kind, flags in (
        ("put", RTM_NEWNEIGH, _PUT),
        ("remove", RTM_DELNEIGH, NLM_F_REQUEST),
    )
}
# One shape for all: header half, sequence number, constant up to the address, address, constant
# up to the MAC, MAC.
_SHAPES: Final = {size: Struct(f"=8sI20s{size}s4s6s2x") for size in (4, 16)}
_Shape = tuple[Callable[..., bytes], bytes, bytes]
_MAC_HEADER: Final = ATTRIBUTE.pack(10, NDA_LLADDR)
_MULTI: Final = frozenset(
    HEAD.pack(0, RTM_NEWNEIGH, flags)[4:]
    for flags in (NLM_F_MULTI, NLM_F_MULTI | NLM_F_DUMP_FILTERED)
)
_RTN_UNICAST: Final = 1
_NTF_PROXY: Final = 0x8
_DEFAULT_MAC: Final = bytes(6)
_DUMPED: Final = [
    (Struct(f"=I4s8x12s4s6s2x4s{size}s"), ATTRIBUTE.pack(4 + size, NDA_DST)) for size in (4, 16)
]
"""A forwarding entry as it is dumped, for each family of its destination."""


def _shape(verb: str, family: int, index: int, flags: int, size: int) -> _Shape:
    body = NDMSG.pack(family, index, NUD_PERMANENT, flags, 0)
    middle = bytes(4) + body + ATTRIBUTE.pack(4 + size, NDA_DST)
    return _SHAPES[size].pack, _HEADS[verb, size], middle


def encode_neighbours(operation: NeighbourOperation, sequence: int) -> list[bytes]:
    """A message for each row, numbered from ``sequence``."""
    verb, index, rows, _ = operation
    shapes = {
        size: _shape(verb, family, index, 0, size)
        for size, family in ((4, socket.AF_INET), (16, socket.AF_INET6))
    }
    messages = []
    for number, (address, mac) in enumerate(rows, sequence):
        pack, head, middle = shapes[len(address)]
        messages.append(pack(head, number, middle, address, _MAC_HEADER, mac))
    return messages


def encode_fdb(operation: FdbOperation, sequence: int) -> list[bytes]:
    """A message for each row, numbered from ``sequence``."""
    verb, index, rows, _ = operation
    shapes = {size: _shape(verb, AF_BRIDGE, index, NTF_SELF, size) for size in (4, 16)}
    messages = []
    for number, (mac, destination) in enumerate(rows, sequence):
        pack, head, middle = shapes[len(destination)]
        messages.append(pack(head, number, middle, destination, _MAC_HEADER, mac))
    return messages


def neighbour_dump(family: int, index: int, sequence: int) -> bytes:
    """A request for the ARP or ND entries of one device."""
    body = NDMSG.pack(family, 0, 0, 0, 0) + word(NDA_IFINDEX, index)
    return message(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, sequence, body)


def fdb_dump(index: int, sequence: int) -> bytes:
    """A request for the forwarding entries of one device."""
    body = NDMSG.pack(AF_BRIDGE, index, 0, 0, 0)
    return message(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, sequence, body)


class NeighbourParser:
    """Collects the permanent unicast entries out of a neighbour dump of one device."""

    def __init__(self, family: int, index: int) -> None:
        size = 4 if family == socket.AF_INET else 16
        self.kind = RTM_NEWNEIGH
        self.rows: dict[bytes, bytes] = {}
        self.index = index
        self._unpack = Struct(f"=I4s8x12s4s{size}s4s6s").unpack_from
        self._expected = (
            NDMSG.pack(family, index, NUD_PERMANENT, 0, _RTN_UNICAST),
            ATTRIBUTE.pack(4 + size, NDA_DST),
            _MAC_HEADER,
        )
        self._shortest = 16 + 12 + 4 + size + 12

    def fast(self, buffer: Buffer, offset: int, end: int) -> int:
        """Read messages of the usual layout; returns where the first unusual one starts."""
        body, destination, lladdr = self._expected
        unpack, rows, last = self._unpack, self.rows, end - self._shortest
        while offset <= last:
            length, head, ndmsg, first, address, second, mac = unpack(buffer, offset)
            if head not in _MULTI or ndmsg != body or first != destination or second != lladdr:
                break
            rows[address] = mac
            offset += length + 3 & ~3
        return offset

    def slow(self, buffer: Buffer, offset: int, end: int) -> None:
        """Read one message of any layout."""
        notice = parse_neighbour(buffer, offset, end, present=True)
        if not isinstance(notice, NeighbourNotice) or notice.ifindex != self.index:
            return
        if notice.permanent and notice.mac:
            self.rows[notice.address] = notice.mac


class FdbParser:
    """Collects the permanent unicast entries out of a forwarding dump of one device."""

    def __init__(self, index: int) -> None:
        self.kind = RTM_NEWNEIGH
        self.dump = FdbDump({}, [])
        self.index = index
        self._body = NDMSG.pack(AF_BRIDGE, index, NUD_PERMANENT, NTF_SELF, _RTN_UNICAST)

    def fast(self, buffer: Buffer, offset: int, end: int) -> int:
        """Read messages of the usual layout; returns where the first unusual one starts."""
        for shape, expected in _DUMPED:
            offset = self._run(buffer, offset, end, shape, expected)
        return offset

    def _run(self, buffer: Buffer, offset: int, end: int, shape: Struct, expected: bytes) -> int:
        rows, body, last, unpack = self.dump.rows, self._body, end - shape.size, shape.unpack_from
        while offset <= last:
            length, head, ndmsg, first, mac, second, destination = unpack(buffer, offset)
            if (
                head not in _MULTI
                or ndmsg != body
                or first != _MAC_HEADER
                or second != expected
                or mac in rows
                or mac[0] & 1
                or mac == _DEFAULT_MAC
            ):
                break
            rows[mac] = destination
            offset += length + 3 & ~3
        return offset

    def slow(self, buffer: Buffer, offset: int, end: int) -> None:
        """Read one message of any layout."""
        notice = parse_neighbour(buffer, offset, end, present=True)
        if (
            not isinstance(notice, FdbNotice)
            or not notice.permanent
            or notice.ifindex != self.index
        ):
            return
        mac, destination = notice.mac, notice.destination
        if destination is None or mac[0] & 1 or mac == _DEFAULT_MAC:
            return
        if mac in self.dump.rows:
            self.dump.further.append((mac, destination))
        else:
            self.dump.rows[mac] = destination


def parse_neighbour(
    buffer: Buffer, offset: int, end: int, *, present: bool
) -> NeighbourNotice | FdbNotice | None:
    """Read one RTM_NEWNEIGH or RTM_DELNEIGH message; None for what is neither kind."""
    family, index, state, flags, _ = NDMSG.unpack_from(buffer, offset + 16)
    found = attributes(buffer, offset + 28, end)
    destination, mac = found.get(NDA_DST), found.get(NDA_LLADDR)
    permanent = bool(state & NUD_PERMANENT)
    if family == AF_BRIDGE:
        if mac is None or len(mac) != 6 or not flags & NTF_SELF:
            return None
        return FdbNotice(index, mac, destination, permanent, present)
    if destination is None or flags & _NTF_PROXY:
        return None
    return NeighbourNotice(index, destination, mac, permanent, present)
