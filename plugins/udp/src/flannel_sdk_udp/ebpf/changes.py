"""Word that links or filters changed, which is only a hint to look (rtnetlink(7))."""

import contextlib
import socket
from typing import Final

from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.messages import HEADER

_GROUP_FILTERS: Final = 4
_DELETED_QDISC, _NEW_FILTER, _DELETED_FILTER = 37, 44, 45
_HINTS: Final = frozenset(
    {c.RTM_NEWLINK, c.RTM_DELLINK, _DELETED_QDISC, _NEW_FILTER, _DELETED_FILTER}
)
_SIZE: Final = 1 << 16


class Changes:
    """A socket for news of links and filters; made in the namespace, read in the event loop."""

    def __init__(self) -> None:
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self.socket.bind((0, 0))
            for group in (c.RTNLGRP_LINK, _GROUP_FILTERS):
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
                    hint = True
                    continue
                if len(data) >= HEADER.size and HEADER.unpack_from(data)[1] in _HINTS:
                    hint = True
        return hint
