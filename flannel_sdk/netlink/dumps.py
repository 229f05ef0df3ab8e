"""Small dumps: the bodies of all answers at once."""

from typing import Final

from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.messages import Buffer, message
from flannel_sdk.netlink.socket import InterruptedDump, RequestSocket

_TRIES: Final = 5


class _Bodies:
    """Collects the bodies of messages of one type."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.found: list[bytes] = []

    def fast(self, _buffer: Buffer, offset: int, _end: int) -> int:
        """No usual layout: the messages are few."""
        return offset

    def slow(self, buffer: Buffer, offset: int, end: int) -> None:
        """Keep one message."""
        self.found.append(bytes(buffer[offset + 16 : end]))


def dump_bodies(netlink: RequestSocket, request: int, answer: int, body: bytes) -> list[bytes]:
    """The bodies of a whole dump, which is read again where it changed meanwhile.

    InterruptedDump where it changed each time; OSError with the kernel's reason if refused.
    """
    for attempt in range(_TRIES):
        try:
            return _bodies(netlink, request, answer, body, c.NLM_F_DUMP)
        except InterruptedDump:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("the last try returns or raises")


def one_body(netlink: RequestSocket, request: int, answer: int, body: bytes) -> bytes:
    """The body of the one answer to a request; OSError with the kernel's reason if refused."""
    return _bodies(netlink, request, answer, body, 0)[0]


def _bodies(
    netlink: RequestSocket, request: int, answer: int, body: bytes, flags: int
) -> list[bytes]:
    sequence = netlink.reserve(1)
    bodies = _Bodies(answer)
    netlink.ask(message(request, c.NLM_F_REQUEST | flags, sequence, body), sequence, bodies)
    return bodies.found
