"""ICMP errors about packets that are not carried (RFC 792), with flannel's limits and a rate."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import Final, Protocol

from flannel_sdk.model import IPAddress
from flannel_sdk_udp.userspace.checksum import finished, word_sum
from flannel_sdk_udp.userspace.packets import ICMP, IPV4, NOT_FIRST

NET_UNREACHABLE: Final = (3, 0)
TOO_BIG: Final = (3, 4)
TIME_EXCEEDED: Final = (11, 0)
_MESSAGE: Final = Struct("!BBHHH")
_REQUESTS: Final = frozenset({8, 13})
"""Echo and timestamp requests: what is no answer and no error."""
_RATE: Final = 1000.0
"""Messages a second, and as many at once."""
_SOL_RAW, _ICMP_FILTER = 255, 1
_IP_FREEBIND = 15


class Post(Protocol):
    """Where messages are sent: a raw ICMP socket."""

    def sendto(self, message: bytes, to: tuple[str, int]) -> object:
        """Send an ICMP message without its IP header."""
        ...


def icmp_socket(own: IPAddress) -> socket.socket:
    """A socket that sends from ``own`` and receives nothing; PermissionError without CAP_NET_RAW.

    (flannel writes its errors into the TUN device, from the address of that device: the kernel
    throws such away, as coming from itself.)
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    made.setsockopt(_SOL_RAW, _ICMP_FILTER, b"\xff" * 4)
    made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
    made.setblocking(False)
    made.bind((str(own), 0))
    return made


class IcmpErrors:
    """Sends ICMP errors to those whose packets are not carried; one object for each thread."""

    def __init__(self, post: Post | None, clock: Callable[[], float] = time.monotonic) -> None:
        """``post`` None: nobody is told anything."""
        self._post = post
        self._clock = clock
        self._tokens = _RATE
        self._filled_at = clock()

    def tell(self, packet: memoryview, kind: tuple[int, int], mtu: int = 0) -> None:
        """Tell the source of an IPv4 ``packet`` whose lengths are consistent, where that may be.

        Not about another ICMP message than a request (and as in flannel about none at all where the
        network is unreachable), about a fragment that is not the first, where the header has 60
        bytes, to a source that is nobody's own, and at too high a rate.
        """
        if self._post is None or not _may_be_told(packet, kind) or not self._take():
            return
        header = (packet[0] & 15) * 4
        quoted = bytes(packet[: header + 8])
        total = word_sum(_MESSAGE.pack(*kind, 0, 0, mtu) + quoted)
        message = _MESSAGE.pack(*kind, finished(total), 0, mtu) + quoted
        with suppress(OSError):  # no way back to the sender, or too many at once
            self._post.sendto(message, (str(IPAddress(packet[12:16])), 0))

    def _take(self) -> bool:
        now = self._clock()
        self._tokens = min(_RATE, self._tokens + (now - self._filled_at) * _RATE)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _may_be_told(packet: memoryview, kind: tuple[int, int]) -> bool:
    first, _, _, _, fragment, _, protocol, _, source, _ = IPV4.unpack_from(packet)
    header = (first & 15) * 4
    if fragment & NOT_FIRST or header >= 60 or not _is_unicast(source):
        return False
    if protocol != ICMP:
        return True
    return kind != NET_UNREACHABLE and len(packet) > header and packet[header] in _REQUESTS


def _is_unicast(address: int) -> bool:
    """Neither 0/8 nor 127/8 nor multicast and what lies above."""
    return address >> 24 not in (0, 127) and address >> 28 < 0xE
