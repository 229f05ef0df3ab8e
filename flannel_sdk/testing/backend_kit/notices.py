"""What a kernel says that was changed in a namespace, heard apart from the backend."""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from flannel_sdk.testing.kit.verdicts import Broken
from flannel_sdk.testing.namespaces import Namespace

_HEADER = struct.Struct("=IHHII")
_GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE."""
_REMOVALS = {17: "a device", 21: "an address", 25: "a route"}
_WRITES = {20: "an address", 24: "a route", **_REMOVALS}
_NEW_NEIGHBOUR, _GONE_NEIGHBOUR = 28, 29
_PERMANENT = 0x80
_STATE_OFFSET = _HEADER.size + 8  # of struct ndmsg: family, padding, index, state


class Notices:
    """Everything since it was opened or last asked."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def removals(self) -> list[str]:
        """What was taken away since."""
        return [what for kind, what in self._read() if kind in {*_REMOVALS, _GONE_NEIGHBOUR}]

    def writes(self) -> list[str]:
        """What was made, changed or taken away since."""
        return [what for _, what in self._read()]

    def _read(self) -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = []
        while True:
            try:
                data = self._channel.recv(1 << 20)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    raise Broken("it wrote more than a kernel can report") from error
                raise
            found += list(_messages(data))


def _messages(data: bytes) -> Iterator[tuple[int, str]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        if kind in _WRITES:
            yield kind, _WRITES[kind]
        elif kind in {_NEW_NEIGHBOUR, _GONE_NEIGHBOUR}:
            (state,) = struct.unpack_from("=H", data, offset + _STATE_OFFSET)
            if state & _PERMANENT:
                yield kind, "a permanent neighbour or forwarding entry"
        offset += length + 3 & ~3


@contextmanager
def notices(netns: Namespace) -> Iterator[Notices]:
    """Listen within."""

    def opened() -> socket.socket:
        channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        channel.bind((0, _GROUPS))
        channel.setblocking(False)
        return channel

    with netns.call(opened) as channel:
        yield Notices(channel)
