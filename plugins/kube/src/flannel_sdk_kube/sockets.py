"""Sockets that notice a peer that is gone."""

import socket
from typing import Final

_IDLE_SECONDS: Final = 30
_PROBE_SECONDS: Final = 10
_PROBES: Final = 3
_UNACKNOWLEDGED_MS: Final = 30_000

_AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]


def probing_socket(address: _AddrInfo) -> socket.socket:
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
