"""RTM_GETROUTE for one address: which way the kernel takes."""

import socket
from typing import Final

from flannel_sdk.dataplane.netlink.constants import (
    NLM_F_REQUEST,
    RTA_DST,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_OIF,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTN_UNICAST,
)
from flannel_sdk.dataplane.netlink.messages import Buffer, attribute, attributes, message, number
from flannel_sdk.dataplane.netlink.route import RTMSG
from flannel_sdk.model import IPAddress

_RTM_F_FIB_MATCH: Final = 0x2000


def lookup_request(address: bytes, sequence: int) -> bytes:
    """A request for the routing table's entry that an address matches."""
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    body = RTMSG.pack(family, len(address) * 8, 0, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH)
    return message(RTM_GETROUTE, NLM_F_REQUEST, sequence, body + attribute(RTA_DST, address))


def parse_lookup(buffer: Buffer, offset: int, end: int) -> tuple[int, IPAddress | None, int] | None:
    """Device index, gateway and number of ways; None where the route is not a unicast one."""
    kind = RTMSG.unpack_from(buffer, offset + 16)[7]
    if kind != RTN_UNICAST:
        return None
    found = attributes(buffer, offset + 28, end)
    ways = _count_ways(found[RTA_MULTIPATH]) if RTA_MULTIPATH in found else 1
    gateway = found.get(RTA_GATEWAY)
    return number(found.get(RTA_OIF)), IPAddress(gateway) if gateway else None, ways


def _count_ways(payload: bytes) -> int:
    count = offset = 0
    while offset + 8 <= len(payload):
        length = int.from_bytes(payload[offset : offset + 2], "little")
        if length < 8:
            break
        count += 1
        offset += length + 3 & ~3
    return count


class LookupParser:
    """Takes the answer to one lookup."""

    def __init__(self) -> None:
        self.kind = RTM_NEWROUTE
        self.way: tuple[int, IPAddress | None, int] | None = None

    def fast(self, _buffer: Buffer, offset: int, _end: int) -> int:
        """No usual layout."""
        return offset

    def slow(self, buffer: Buffer, offset: int, end: int) -> None:
        """Read the one message."""
        self.way = parse_lookup(buffer, offset, end)
