"""TUN device to UDP: looks up the peer, spends a hop, sends equal packets together."""

import os
import socket
from typing import Final

from flannel_sdk_udp.datapath import Counter
from flannel_sdk_udp.userspace.counting import no_counts
from flannel_sdk_udp.userspace.icmp import (
    NET_UNREACHABLE,
    TIME_EXCEEDED,
    TOO_BIG,
    IcmpErrors,
    Post,
)
from flannel_sdk_udp.userspace.offload import (
    GSO_ECN,
    GSO_NONE,
    GSO_TCP4,
    NEEDS_CHECKSUM,
    VNET,
    complete_checksum,
    cut_tcp,
)
from flannel_sdk_udp.userspace.packets import (
    DONT_FRAGMENT,
    IPV4,
    VERSION_4,
    is_consistent,
    spend_hop,
)
from flannel_sdk_udp.userspace.sending import MOST_BYTES, MOST_SEGMENTS, Sender
from flannel_sdk_udp.userspace.table import Peer
from flannel_sdk_udp.userspace.tables import Tables

_BATCH: Final = 64
"""Packets read before those that wait are sent."""
_LARGEST: Final = 65536


class Outbound:
    """One thread's work; ``work`` is called whenever the device can be read."""

    def __init__(
        self, tun: int, sock: socket.socket, tables: Tables, *, mtu: int, post: Post | None
    ) -> None:
        self.counts = no_counts()
        self._tun = tun
        self._tables = tables
        self._icmp = IcmpErrors(post)
        self._sender = Sender(sock, self.counts, self._answer_too_big)
        self._arena = memoryview(bytearray(_BATCH * mtu + _LARGEST))
        self._vnet = bytearray(VNET.size)
        self._peer: Peer | None = None
        self._start = self._end = self._size = 0
        """The run that waits: packets of one size for one peer, one after another in the arena."""

    def work(self) -> None:
        """Read and send until nothing is left, or a batch of it.

        OSError where the device is gone.
        """
        arena, vnet, tun = self._arena, self._vnet, self._tun
        self._peer, self._end = None, 0
        for _ in range(_BATCH):
            end = self._end
            try:
                count = os.readv(tun, (vnet, arena[end : end + _LARGEST]))
            except BlockingIOError:
                break
            self._take(end, end + count - VNET.size)
        self._flush()

    def _take(self, start: int, end: int) -> None:
        """One packet from the device, at the end of the arena's used part."""
        counts, arena = self.counts, self._arena
        size = end - start
        if size < 20 or arena[start] >> 4 != VERSION_4:
            counts[Counter.DROPPED_NOT_IPV4] += 1
            return
        first, _, total, _, _, ttl, protocol, checksum, _, destination = IPV4.unpack_from(
            arena, start
        )
        if total != size or not is_consistent(first, total, size):
            counts[Counter.DROPPED_MALFORMED] += 1
            return
        peer = self._tables.current.find(destination)
        if peer is None:
            counts[Counter.DROPPED_NO_PEER] += 1
            self._icmp.tell(arena[start:end], NET_UNREACHABLE)
            return
        if ttl <= 1:
            counts[Counter.DROPPED_TTL] += 1
            self._icmp.tell(arena[start:end], TIME_EXCEEDED)
            return
        spend_hop(arena, start, ttl, protocol, checksum)
        flags, kind, _, segment, sum_start, sum_place = VNET.unpack(self._vnet)
        if kind != GSO_NONE:
            self._send_large(arena[start:end], kind, segment, peer)
        elif flags & NEEDS_CHECKSUM and not complete_checksum(
            arena[start:end], sum_start, sum_place
        ):
            counts[Counter.DROPPED_MALFORMED] += 1
        else:
            self._queue(start, end, peer)

    def _send_large(self, packet: memoryview, kind: int, segment: int, peer: Peer) -> None:
        self._flush()
        cut = cut_tcp(packet, segment) if kind & ~GSO_ECN == GSO_TCP4 else None
        if cut is None:
            self.counts[Counter.DROPPED_MALFORMED] += 1
        else:
            self._sender.send_run(cut.views, cut.size, 2, peer)

    def _queue(self, start: int, end: int, peer: Peer) -> None:
        """Let a packet wait for others like it; what cannot wait together with it is sent."""
        size = end - start
        if peer is self._peer:
            length = end - self._start
            if size <= self._size and length <= min(MOST_BYTES, MOST_SEGMENTS * self._size):
                self._end = end
                if size < self._size:
                    self._flush()  # only the last may be smaller
                return
        # The packet lies where the run ends, so that the arena need not be copied.
        self._flush()
        self._peer, self._start, self._end, self._size = peer, start, end, size

    def _flush(self) -> None:
        peer = self._peer
        if peer is not None:
            self._peer = None
            self._sender.send_contiguous(self._arena[self._start : self._end], self._size, peer)

    def _answer_too_big(self, packet: memoryview, mtu: int) -> bool:
        if not IPV4.unpack_from(packet)[4] & DONT_FRAGMENT:
            return False
        self._icmp.tell(packet, TOO_BIG, mtu)
        return True
