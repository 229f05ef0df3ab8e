"""ICMP errors about packets that are not carried (RFC 792), with flannel's limits and a rate."""

import time
from collections.abc import Callable
from struct import Struct
from typing import Final

from flannel_sdk.model import IPAddress
from flannel_sdk_udp.userspace.checksum import finished, word_sum
from flannel_sdk_udp.userspace.packets import ICMP, IPV4, NOT_FIRST

NET_UNREACHABLE: Final = (3, 0)
TOO_BIG: Final = (3, 4)
TIME_EXCEEDED: Final = (11, 0)
_MESSAGE: Final = Struct("!BBHHH")
_TTL: Final = 8
_REQUESTS: Final = frozenset({8, 13})
"""Echo and timestamp requests: what is no answer and no error."""
_RATE: Final = 1000.0
"""Messages a second, and as many at once."""


class IcmpErrors:
    """Writes ICMP errors; one object for each thread."""

    def __init__(self, own: IPAddress, clock: Callable[[], float] = time.monotonic) -> None:
        """``own``: the TUN device's address, which they are from."""
        self._own = int.from_bytes(own, "big")
        self._clock = clock
        self._tokens = _RATE
        self._filled_at = clock()

    def about(self, packet: memoryview, kind: tuple[int, int], mtu: int = 0) -> bytes | None:
        """The error to be sent to the source of an IPv4 ``packet`` whose lengths are consistent.

        None where there must be none: about another ICMP message than a request (and as in flannel
        about none at all where the network is unreachable), about a fragment that is not the
        first, where the header has 60 bytes, to a source that is nobody's own, and at too high a
        rate.
        """
        first, _, _, _, fragment, _, protocol, _, source, _ = IPV4.unpack_from(packet)
        header = (first & 15) * 4
        if fragment & NOT_FIRST or header >= 60 or not _is_unicast(source):
            return None
        if protocol == ICMP:
            asks = len(packet) > header and packet[header] in _REQUESTS
            if kind == NET_UNREACHABLE or not asks:
                return None
        return self._build(bytes(packet[: header + 8]), source, kind, mtu) if self._take() else None

    def _build(self, quoted: bytes, to: int, kind: tuple[int, int], mtu: int) -> bytes:
        body = _MESSAGE.pack(*kind, 0, 0, mtu) + quoted
        body = _MESSAGE.pack(*kind, finished(word_sum(body)), 0, mtu) + quoted
        total = 20 + len(body)
        head = IPV4.pack(0x45, 0, total, 0, 0, _TTL, ICMP, 0, self._own, to)
        head = IPV4.pack(0x45, 0, total, 0, 0, _TTL, ICMP, finished(word_sum(head)), self._own, to)
        return head + body

    def _take(self) -> bool:
        now = self._clock()
        self._tokens = min(_RATE, self._tokens + (now - self._filled_at) * _RATE)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _is_unicast(address: int) -> bool:
    """Neither 0/8 nor 127/8 nor multicast and what lies above."""
    return address >> 24 not in (0, 127) and address >> 28 < 0xE
