"""UDP to TUN device: checks who sent it, spends a hop, joins what TCP sent in one go."""

import errno
import os
import socket
from struct import Struct
from typing import Final

from flannel_sdk_udp.datapath import Counter
from flannel_sdk_udp.userspace.counting import no_counts
from flannel_sdk_udp.userspace.icmp import TIME_EXCEEDED, IcmpErrors, Post
from flannel_sdk_udp.userspace.offload import VNET_PLAIN, join_tcp
from flannel_sdk_udp.userspace.packets import IPV4, VERSION_4, is_consistent, spend_hop
from flannel_sdk_udp.userspace.tables import Tables

_BATCH: Final = 64
_LARGEST: Final = 65536
_CONTROL_BYTES: Final = 64
_SIZE: Final = Struct("=i")


class Inbound:
    """One thread's work; ``work`` is called whenever the socket can be read."""

    def __init__(self, tun: int, sock: socket.socket, tables: Tables, *, post: Post | None) -> None:
        self.counts = no_counts()
        self._tun = tun
        self._socket = sock
        self._tables = tables
        self._icmp = IcmpErrors(post)
        self._buffer = memoryview(bytearray(_LARGEST))

    def work(self) -> None:
        """Receive and write until nothing is left, or a batch of it.

        OSError where the device is gone.
        """
        receive, buffer = self._socket.recvmsg_into, self._buffer
        for _ in range(_BATCH):
            try:
                count, controls, _, (host, _) = receive(
                    [buffer], _CONTROL_BYTES, socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return
            size = _SIZE.unpack(controls[0][2])[0] if controls else count
            self._take(count, size, host)

    def _take(self, count: int, size: int, host: str) -> None:
        """Datagrams of ``size`` bytes, the last perhaps smaller, ``count`` bytes in all."""
        size = size if size > 0 else _LARGEST
        if host not in self._tables.current.sources:
            self.counts[Counter.DROPPED_UNKNOWN_SOURCE] += max(1, -(-count // size))
            return
        if not count:
            self.counts[Counter.DROPPED_NOT_IPV4] += 1
        start = 0
        while start < count:
            end = min(start + size, count)
            joined = join_tcp(self._buffer, start, count, size) if end < count else None
            if joined is not None and self._is_from(start, host):
                if self._write(joined.views):
                    self.counts[Counter.RECEIVED_PACKETS] += joined.datagrams
                    self.counts[Counter.RECEIVED_BYTES] += joined.total
                start = joined.end
                continue
            self._take_one(start, end, host)
            start = end

    def _is_from(self, start: int, host: str) -> bool:
        peer = self._tables.current.find(IPV4.unpack_from(self._buffer, start)[8])
        return peer is not None and peer[0] == host

    def _take_one(self, start: int, end: int, host: str) -> None:
        counts, buffer = self.counts, self._buffer
        if end - start < 20 or buffer[start] >> 4 != VERSION_4:
            counts[Counter.DROPPED_NOT_IPV4] += 1
            return
        first, _, total, _, _, ttl, protocol, checksum, source, _ = IPV4.unpack_from(buffer, start)
        if not is_consistent(first, total, end - start):
            counts[Counter.DROPPED_MALFORMED] += 1
            return
        peer = self._tables.current.find(source)
        if peer is None or peer[0] != host:
            counts[Counter.DROPPED_FOREIGN_SOURCE] += 1
            return
        packet = buffer[start : start + total]
        if ttl <= 1:
            counts[Counter.DROPPED_TTL] += 1
            self._icmp.tell(packet, TIME_EXCEEDED)
            return
        spend_hop(buffer, start, ttl, protocol, checksum)
        if self._write([VNET_PLAIN, packet]):
            counts[Counter.RECEIVED_PACKETS] += 1
            counts[Counter.RECEIVED_BYTES] += total

    def _write(self, views: "list[bytes | memoryview]") -> bool:
        """False, and counted, if the device does not take it: it is down, or the packet is odd."""
        try:
            os.writev(self._tun, views)
        except OSError as error:
            if error.errno == errno.EBADFD:
                raise
            self.counts[Counter.DROPPED_MALFORMED] += 1
            return False
        return True
