"""Datagrams out of the socket: equal ones by one call (UDP_SEGMENT), or one by one where not."""

import errno
import logging
import socket
from struct import pack
from typing import Final, Protocol

from flannel_sdk_udp.datapath import Counter
from flannel_sdk_udp.userspace.counting import Counts
from flannel_sdk_udp.userspace.table import Peer

_logger = logging.getLogger(__name__)
_UDP_SEGMENT: Final = 103
"""linux/udp.h."""
MOST_SEGMENTS: Final = 64
"""Datagrams of one call: what every kernel with UDP_SEGMENT takes."""
MOST_BYTES: Final = 65507
"""Of all datagrams of one call."""
_IP_MTU_DISCOVER, _PMTUDISC_DONT, _PMTUDISC_DO = 10, 0, 2
_IP_MTU = 14


class TooBigHandler(Protocol):
    """Told of a datagram that the way to a peer does not carry."""

    def __call__(self, packet: memoryview, mtu: int) -> bool:
        """True: it must not be fragmented, and its sender was told ``mtu`` bytes."""
        ...


class Sender:
    """Sends inner packets to peers and counts them; used by one thread."""

    def __init__(self, sock: socket.socket, counts: Counts, too_big: TooBigHandler) -> None:
        self._socket = sock
        self._counts = counts
        self._too_big = too_big
        self._controls: dict[int, list[tuple[int, int, bytes]]] = {}
        self._segments = True
        """False once the underlay has refused: its device has no checksum offload, for example."""

    def send(self, packet: memoryview, peer: Peer) -> None:
        """One packet."""
        try:
            self._socket.sendto(packet, peer)
        except OSError as error:
            self._failed(packet, peer, error)
        else:
            self._counts[Counter.SENT_PACKETS] += 1
            self._counts[Counter.SENT_BYTES] += len(packet)

    def send_run(self, views: list[memoryview], size: int, each: int, peer: Peer) -> None:
        """Packets of ``size`` bytes, the last perhaps smaller, of ``each`` views each."""
        most = min(MOST_SEGMENTS, MOST_BYTES // size) * each
        for start in range(0, len(views), most):
            self._send_some(views[start : start + most], size, each, peer)

    def send_contiguous(self, run: memoryview, size: int, peer: Peer) -> None:
        """Packets of ``size`` bytes one after another, few enough for one call."""
        if len(run) <= size:
            self.send(run, peer)
        elif not self._offload([run], size, -(-len(run) // size), peer):
            for start in range(0, len(run), size):
                self.send(run[start : start + size], peer)

    def _send_some(self, views: list[memoryview], size: int, each: int, peer: Peer) -> None:
        if len(views) > each and self._offload(views, size, len(views) // each, peer):
            return
        for start in range(0, len(views), each):
            self.send(memoryview(b"".join(views[start : start + each])), peer)

    def _offload(self, views: list[memoryview], size: int, count: int, peer: Peer) -> bool:
        """Send all by one call; False if that is not to be had."""
        if not self._segments:
            return False
        control = self._controls.get(size)
        if control is None:
            control = [(socket.IPPROTO_UDP, _UDP_SEGMENT, pack("=H", size))]
            self._controls[size] = control
        try:
            sent = self._socket.sendmsg(views, control, 0, peer)
        except OSError as error:
            if error.errno in (errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT):
                self._segments = False
                _logger.info("the underlay does not cut datagrams (%s): sending each", error)
            return False
        self._counts[Counter.SENT_PACKETS] += count
        self._counts[Counter.SENT_BYTES] += sent
        return True

    def _failed(self, packet: memoryview, peer: Peer, error: OSError) -> None:
        if error.errno != errno.EMSGSIZE:
            self._counts[Counter.DROPPED_SEND_FAILED] += 1
        elif self._too_big(packet, self._path_mtu(peer) - 28):
            self._counts[Counter.DROPPED_TOO_BIG] += 1
        else:
            self._send_in_fragments(packet, peer)

    def _send_in_fragments(self, packet: memoryview, peer: Peer) -> None:
        """The outer packet is cut: the inner one allows it, and arrives whole."""
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
        try:
            self._socket.sendto(packet, peer)
        except OSError:
            self._counts[Counter.DROPPED_SEND_FAILED] += 1
        else:
            self._counts[Counter.SENT_PACKETS] += 1
            self._counts[Counter.SENT_BYTES] += len(packet)
        finally:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DO)

    @staticmethod
    def _path_mtu(peer: Peer) -> int:
        """What the kernel has learnt about the way to a peer, in bytes; called in its namespace."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(peer)
                return probe.getsockopt(socket.IPPROTO_IP, _IP_MTU)
            except OSError:
                return 576
