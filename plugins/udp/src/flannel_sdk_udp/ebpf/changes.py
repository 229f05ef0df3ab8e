"""Word that links, filters or MTUs of routes changed: only a hint to look (rtnetlink(7))."""

import contextlib
import socket
from typing import Final

from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.messages import HEADER, attributes
from flannel_sdk_udp.ebpf.route_mtu import METRICS, ROUTE

_GROUP_FILTERS: Final = 4
_DELETED_QDISC, _NEW_FILTER, _DELETED_FILTER = 37, 44, 45
_HINTS: Final = frozenset(
    {c.RTM_NEWLINK, c.RTM_DELLINK, _DELETED_QDISC, _NEW_FILTER, _DELETED_FILTER}
)
_ROUTES: Final = frozenset({c.RTM_NEWROUTE, c.RTM_DELROUTE})
_SIZE: Final = 1 << 16


class Changes:
    """A socket for news of links and filters; made in the namespace, read in the event loop."""

    def __init__(self) -> None:
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self.route_mtu = False
        """Whether a route came or went that may have an MTU; whoever has looked takes it back."""
        self.any_route = False
        """Whether each route matters, since one of another MTU may be behind it."""
        try:
            self.socket.bind((0, 0))
            for group in (c.RTNLGRP_LINK, c.RTNLGRP_IPV4_ROUTE, _GROUP_FILTERS):
                self.socket.setsockopt(c.SOL_NETLINK, c.NETLINK_ADD_MEMBERSHIP, group)
        except OSError:
            self.socket.close()
            raise

    def close(self) -> None:
        """Free the descriptor."""
        self.socket.close()

    def drain(self) -> bool:
        """Read what is there; whether any of it calls for a look. Lost messages do."""
        hint = False
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    data = self.socket.recv(_SIZE)
                except BlockingIOError:
                    raise
                except OSError:
                    hint = self.route_mtu = True
                    continue
                kind = HEADER.unpack_from(data)[1] if len(data) >= HEADER.size else 0
                if kind in _ROUTES and (self.any_route or _has_metrics(data)):
                    hint = self.route_mtu = True
                elif kind in _HINTS:
                    hint = True
        return hint


def _has_metrics(data: bytes) -> bool:
    return METRICS in attributes(data, HEADER.size + ROUTE.size, len(data))
