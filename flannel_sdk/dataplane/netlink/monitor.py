"""The notification socket: changes that others make in the kernel, as notices."""

import contextlib
import errno
import socket
from typing import Final, Protocol

from flannel_sdk.dataplane.netlink.address import parse_address
from flannel_sdk.dataplane.netlink.link import parse_link
from flannel_sdk.dataplane.netlink.neighbour import parse_neighbour
from flannel_sdk.dataplane.netlink.route import parse_route
from flannel_sdk.dataplane.observed import LinkNotice, Notice, Overrun
from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.messages import HEADER, Buffer
from flannel_sdk.netlink.socket import grow
from flannel_sdk.netlink.socket_filter import (
    ALL,
    GIVE,
    IF_EQUAL,
    LOAD_WORD,
    attach_filter,
    swapped_word,
)

_NODE_GROUPS: Final = (c.RTNLGRP_LINK, c.RTNLGRP_IPV4_IFADDR, c.RTNLGRP_IPV6_IFADDR)
_OBJECT_GROUPS: Final = (c.RTNLGRP_NEIGH, c.RTNLGRP_IPV4_ROUTE, c.RTNLGRP_IPV6_ROUTE)
_MESSAGES_A_TURN: Final = 1024


class _Parser(Protocol):
    def __call__(self, buffer: Buffer, offset: int, end: int, /, *, present: bool) -> Notice | None:
        """Read one message."""
        ...


def _parse_link(buffer: Buffer, offset: int, end: int, /, *, present: bool) -> Notice | None:
    if buffer[offset + 16] != 0:  # a bridge port's state, not a link's
        return None
    link = parse_link(buffer, offset, end)
    return LinkNotice(link.ifindex, link.name, link.up, present)


_PARSERS: Final[dict[int, tuple[_Parser, bool]]] = {
    c.RTM_NEWNEIGH: (parse_neighbour, True),
    c.RTM_DELNEIGH: (parse_neighbour, False),
    c.RTM_NEWROUTE: (parse_route, True),
    c.RTM_DELROUTE: (parse_route, False),
    c.RTM_NEWADDR: (parse_address, True),
    c.RTM_DELADDR: (parse_address, False),
    c.RTM_NEWLINK: (_parse_link, True),
    c.RTM_DELLINK: (_parse_link, False),
}

_OBJECT_KINDS: Final = frozenset({c.RTM_NEWNEIGH, c.RTM_DELNEIGH, c.RTM_NEWROUTE, c.RTM_DELROUTE})


class Monitor:
    """A socket in the rtnetlink groups; made in the kernel thread, read in the event loop."""

    def __init__(self, ignored_port: int, *, buffer_size: int) -> None:
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._listening = True
        try:
            grow(self.socket, buffer_size)
            self._ignore(ignored_port)
            self.socket.bind((0, 0))
            for group in _NODE_GROUPS:
                self._membership(c.NETLINK_ADD_MEMBERSHIP, group)
            self.listen_for_objects(True)
        except OSError:
            self.socket.close()
            raise
        self._buffer = bytearray(1 << 16)

    def _membership(self, option: int, group: int) -> None:
        self.socket.setsockopt(c.SOL_NETLINK, option, group)

    def _ignore(self, port: int) -> None:
        """Let the kernel drop what our own requests cause: all messages that carry their port."""
        with contextlib.suppress(OSError):  # without it we only read more
            attach_filter(
                self.socket,
                (
                    (LOAD_WORD, 0, 0, 12),  # nlmsg_pid
                    (IF_EQUAL, 0, 1, swapped_word(port)),
                    (GIVE, 0, 0, 0),
                    (GIVE, 0, 0, ALL),
                ),
            )

    def listen_for_objects(self, listen: bool) -> None:
        """Join or leave the groups in which our own bulk writes would be reported.

        What is queued already is skipped unread while we are out. The filter drops most of that,
        but the kernel would still make each notice for it.
        """
        self._listening = listen
        option = c.NETLINK_ADD_MEMBERSHIP if listen else c.NETLINK_DROP_MEMBERSHIP
        for group in _OBJECT_GROUPS:
            self._membership(option, group)

    def read(self) -> list[Notice]:
        """What has come since, at most one turn's worth; Overrun where some was lost."""
        notices: list[Notice] = []
        for _ in range(_MESSAGES_A_TURN):
            try:
                end = self.socket.recv_into(self._buffer)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                notices.append(Overrun())
                continue
            offset = 0
            while offset + 16 <= end:
                length, kind, _, _, _ = HEADER.unpack_from(self._buffer, offset)
                if kind in _PARSERS and (self._listening or kind not in _OBJECT_KINDS):
                    parse, present = _PARSERS[kind]
                    notice = parse(self._buffer, offset, offset + length, present=present)
                    if notice is not None:
                        notices.append(notice)
                offset += max(length, 16) + 3 & ~3
        return notices

    def close(self) -> None:
        """Free the descriptor."""
        self.socket.close()
