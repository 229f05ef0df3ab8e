"""The MTU that routes to peers have of their own, which ``bpf_fib_lookup`` does not tell.

It tells that of the device, of a locked route and of a path whose routers have said so: what counts
for forwarding. A packet of ours obeys the route's own MTU too (ip-route(8), ``mtu``).
"""

import socket
from collections.abc import Sequence
from struct import Struct
from typing import Final

from flannel_sdk.model import IPAddress
from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.messages import Buffer, attribute, attributes, message, number
from flannel_sdk.netlink.socket import RequestSocket

METRICS: Final = 8
"""RTA_METRICS."""
ROUTE: Final = Struct("=8BI")
"""rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type; flags."""
_MTU: Final = 2
"""RTAX_MTU."""


def route_mtus(addresses: Sequence[IPAddress]) -> dict[IPAddress, int]:
    """Bytes by address, for those whose route has an MTU; in the calling thread's namespace."""
    found: dict[IPAddress, int] = {}

    def take(position: int, buffer: Buffer, offset: int, end: int) -> None:
        metrics = attributes(buffer, offset + 16 + ROUTE.size, end).get(METRICS, b"")
        mtu = number(attributes(metrics, 0, len(metrics)).get(_MTU))
        if mtu:
            found[addresses[position]] = min(mtu, 0xFFFF)

    netlink = RequestSocket()
    try:
        first = netlink.reserve(len(addresses))
        requests = [
            message(c.RTM_GETROUTE, c.NLM_F_REQUEST, first + position, _question(address))
            for position, address in enumerate(addresses)
        ]
        netlink.ask_each(requests, first, take)
    finally:
        netlink.close()
    return found


def _question(address: IPAddress) -> bytes:
    return ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + attribute(c.RTA_DST, address)
