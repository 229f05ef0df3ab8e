"""Sockets that notice a peer that is gone, and when they are all closed."""

import asyncio
import socket
from contextlib import suppress
from typing import Final
from weakref import WeakSet

_IDLE_SECONDS: Final = 30
_PROBE_SECONDS: Final = 10
_PROBES: Final = 3
_UNACKNOWLEDGED_MS: Final = 30_000

_CLOSING_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.005

AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]


def probing_socket(address: AddrInfo) -> socket.socket:
    """A TCP socket that breaks a minute after its peer went away, half of it while writing."""
    family, kind, protocol, *_ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_SECONDS)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
    except OSError:
        made.close()
        raise
    return made


class Sockets:
    """The sockets of one session."""

    def __init__(self) -> None:
        self._made: WeakSet[socket.socket] = WeakSet()

    def make(self, address: AddrInfo) -> socket.socket:
        """A ``probing_socket`` that is known here."""
        made = probing_socket(address)
        self._made.add(made)
        return made

    async def close(self) -> None:
        """End all connections; returns when their sockets are closed, or after a second.

        aiohttp waits for none of them: asyncio closes a connection a turn of its loop after it is
        told to, and one whose TLS is at its begin or its end only when the other side answers.
        """
        for made in self._made:
            with suppress(OSError):  # not connected, or closed
                made.shutdown(socket.SHUT_RDWR)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                while any(made.fileno() != -1 for made in self._made):  # noqa: ASYNC110  # nothing tells of it
                    await asyncio.sleep(_LOOK_SECONDS)
