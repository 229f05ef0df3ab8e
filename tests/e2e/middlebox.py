"""A middlebox that forwards frames without completing their checksums, as broken offloads do.

A packet whose checksum is left to the device carries half of one until a device completes it. A
packet socket hands such frames out as they are, and sends what it is given as it is.
"""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from flannel_sdk.netns import run_in_netns

_ETH_P_ALL = 0x0003
_PACKET_OUTGOING = 4
_LONGEST_FRAME = 65536


@contextmanager
def unfinished_checksums(netns: str, one: str, other: str, *, inner_only: bool) -> Iterator[None]:
    """Forward between two devices of a namespace while the block runs.

    ``inner_only``: UDP over IPv4 goes out without a checksum of its own, so that only what is
    inside a tunnel is spoiled.
    """
    with ExitStack() as opened:

        def open_both() -> tuple[socket.socket, socket.socket]:
            return opened.enter_context(_bound(one)), opened.enter_context(_bound(other))

        ends = run_in_netns(netns, open_both)
        wake, stop = socket.socketpair()
        opened.enter_context(wake)
        opened.enter_context(stop)
        thread = threading.Thread(target=_forward, args=(*ends, wake, inner_only), name="middlebox")
        thread.start()
        try:
            yield
        finally:
            stop.close()
            thread.join()


def _bound(device: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    made.bind((device, 0))
    return made


def _without_checksum(frame: bytes) -> bytes:
    """A frame whose UDP checksum, if it is UDP over IPv4, is none (RFC 768)."""
    if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
        return frame
    checksum = 14 + (frame[14] & 0x0F) * 4 + 6
    return frame[:checksum] + b"\0\0" + frame[checksum + 2 :]


def _forward(
    one: socket.socket, other: socket.socket, wake: socket.socket, inner_only: bool
) -> None:
    others = {one: other, other: one}
    while True:
        readable, _, _ = select.select([one, other, wake], [], [])
        if wake in readable:
            return
        for end in readable:
            frame, address = end.recvfrom(_LONGEST_FRAME)
            if address[2] != _PACKET_OUTGOING:
                others[end].send(_without_checksum(frame) if inner_only else frame)
