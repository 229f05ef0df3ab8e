"""The kernel as an onlooker sees it: netlink notifications of one namespace with their times."""

import socket
import struct
import time
from collections.abc import Callable, Iterable

_RTM_NEWNEIGH, _RTM_NEWROUTE, _RTM_DELROUTE = 28, 24, 25
_GROUPS = 1 << 2 | 1 << 6  # RTMGRP_NEIGH, RTMGRP_IPV4_ROUTE
_HEADER = struct.Struct("=IHHII")
_DELETE = struct.Struct("=IHHIIBBBBBBBBIHH4s")
_ATTRIBUTE = struct.Struct("=HH")
_SOL_SOCKET, _SO_RCVBUFFORCE = socket.SOL_SOCKET, 33
_RTA_DST, _NDA_LLADDR = 1, 2
_AF_BRIDGE = 7

Matcher = Callable[[int, bytes], bool]


class KernelWatch:
    """A socket that listens to IPv4 routes, neighbours and FDB entries; open it inside."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(_SOL_SOCKET, _SO_RCVBUFFORCE, 256 << 20)
        self._socket.bind((0, _GROUPS))
        self._socket.settimeout(10)

    def wait_route(self, destination: bytes, *, gone: bool = False) -> float:
        """``time.monotonic()`` when a route to ``destination`` came, or went."""
        wanted = _RTM_DELROUTE if gone else _RTM_NEWROUTE
        return self._wait(
            lambda kind, body: kind == wanted and _attribute(body, 12, _RTA_DST) == destination
        )

    def wait_fdb(self, mac: bytes) -> float:
        """``time.monotonic()`` when an FDB entry for ``mac`` came."""
        return self._wait(
            lambda kind, body: (
                kind == _RTM_NEWNEIGH
                and body[0] == _AF_BRIDGE
                and _attribute(body, 12, _NDA_LLADDR) == mac
            )
        )

    def wait_routes(self, count: int) -> float:
        """``time.monotonic()`` when routes to ``count`` different destinations had come."""
        seen: set[bytes] = set()

        def complete(kind: int, body: bytes) -> bool:
            if kind == _RTM_NEWROUTE and (found := _attribute(body, 12, _RTA_DST)):
                seen.add(found)
            return len(seen) >= count

        return self._wait(complete)

    def drain(self) -> None:
        """Forget what has come so far."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(1 << 16)
        except BlockingIOError:
            pass
        finally:
            self._socket.settimeout(10)

    def close(self) -> None:
        """Free the socket."""
        self._socket.close()

    def _wait(self, matches: Matcher) -> float:
        while True:
            data = self._socket.recv(1 << 16)
            now = time.monotonic()
            at = 0
            while at < len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                if matches(kind, data[at + _HEADER.size : at + length]):
                    return now
                at += length + 3 & ~3


def flush_routes(destinations: Iterable[bytes]) -> None:
    """Delete the routes to these /24 destinations in batches, of any metric; call it inside."""
    messages = [
        _DELETE.pack(
            36, _RTM_DELROUTE, 1, 0, 0, socket.AF_INET, 24, 0, 0, 254, 0, 0, 0, 0, 8, 1, to
        )
        for to in destinations
    ]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sender:
        for first in range(0, len(messages), 1000):
            sender.send(b"".join(messages[first : first + 1000]))


def _attribute(body: bytes, start: int, wanted: int) -> bytes | None:
    at = start
    while at + 4 <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if kind == wanted:
            return body[at + 4 : at + length]
        at += length + 3 & ~3
    return None
