"""RTM_GETROUTE for one address: which way the kernel takes."""

import socket
from struct import Struct
from typing import Final

from flannel_sdk.dataplane.netlink.route import RTMSG
from flannel_sdk.model import IPAddress
from flannel_sdk.netlink.constants import (
    NLM_F_REQUEST,
    RTA_DST,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_OIF,
    RTM_GETROUTE,
    RTN_UNICAST,
)
from flannel_sdk.netlink.messages import Buffer, attribute, attributes, message, number

_RTM_F_FIB_MATCH: Final = 0x2000
_RTNEXTHOP: Final = Struct("=HxxI")
"""rtnexthop: length and device index; flags and weight are not needed."""


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
    if RTA_MULTIPATH in found:
        return _first_way(found[RTA_MULTIPATH])
    gateway = found.get(RTA_GATEWAY)
    return number(found.get(RTA_OIF)), IPAddress(gateway) if gateway else None, 1


def _first_way(payload: bytes) -> tuple[int, IPAddress | None, int] | None:
    """Device index and gateway of the first of several ways, and how many there are."""
    first: tuple[int, IPAddress | None] | None = None
    count = offset = 0
    while offset + _RTNEXTHOP.size <= len(payload):
        length, index = _RTNEXTHOP.unpack_from(payload, offset)
        if length < _RTNEXTHOP.size:
            break
        if first is None:
            inside = attributes(payload, offset + _RTNEXTHOP.size, offset + length)
            gateway = inside.get(RTA_GATEWAY)
            first = index, IPAddress(gateway) if gateway else None
        count += 1
        offset += length + 3 & ~3
    return None if first is None else (*first, count)
