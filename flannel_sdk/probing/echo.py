"""ICMP and ICMPv6 echo: the packets, and a raw socket inside a pod's namespace."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from flannel_sdk.errors import PrivilegeError
from flannel_sdk.model import Family, IPAddress
from flannel_sdk.netns import run_in_netns

_HEADER = struct.Struct("!BBHHH")
_TYPES = {Family.IPV4: (8, 0), Family.IPV6: (128, 129)}
"""Echo request and echo reply."""
IP_HEADER_BYTES = {Family.IPV4: 20, Family.IPV6: 40}
ECHO_HEADER_BYTES = _HEADER.size

_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE = 10, 23, 3
_IPV6_DONTFRAG = 62
_SOL_RAW, _ICMP_FILTER, _ICMP6_FILTER = 255, 1, 1
_RECEIVE_BUFFER = 1 << 20


class EchoReply(NamedTuple):
    """An answer to a request of the same socket."""

    source: IPAddress
    sequence: int
    """Of the request, modulo 65536."""
    payload_length: int


def encode_request(family: Family, identifier: int, sequence: int, payload: bytes) -> bytes:
    """An echo request; the kernel adds ICMPv6's checksum, ICMP's is computed here."""
    header = _HEADER.pack(_TYPES[family][0], 0, 0, identifier, sequence & 0xFFFF)
    if family is Family.IPV6:
        return header + payload
    checksum = internet_checksum(header + payload)
    return _HEADER.pack(_TYPES[family][0], 0, checksum, identifier, sequence & 0xFFFF) + payload


def decode_reply(family: Family, packet: bytes) -> tuple[int, int, bytes] | None:
    """Identifier, sequence and payload; None if it is no echo reply. IPv4 comes with its header."""
    if family is Family.IPV4:
        packet = packet[(packet[0] & 0x0F) * 4 :] if packet else packet
    if len(packet) < _HEADER.size:
        return None
    header: tuple[int, int, int, int, int] = _HEADER.unpack_from(packet)
    kind, _, _, identifier, sequence = header
    if kind != _TYPES[family][1]:
        return None
    return identifier, sequence, packet[_HEADER.size :]


def internet_checksum(data: bytes) -> int:
    """RFC 1071: the complement of the one's complement sum of 16-bit words."""
    if len(data) % 2:
        data += b"\0"
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class EchoSocket:
    """A raw socket of one family in one namespace; sends requests, hands over its own replies.

    Packets are never fragmented (DF), and a path MTU that the kernel remembers is not obeyed: what
    is too big for the link is refused, what is too big for the path is lost.
    """

    def __init__(self, netns: str | None, family: Family) -> None:
        """Open it inside the namespace at ``netns``; PrivilegeError without CAP_NET_RAW there."""
        self.family = family
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._socket = run_in_netns(netns, lambda: _open(family))
        self._loop: asyncio.AbstractEventLoop | None = None

    def send(self, destination: IPAddress, sequence: int, payload: bytes = b"") -> OSError | None:
        """Send a request; the error if the kernel refused it at once (no route, too long)."""
        packet = encode_request(self.family, self._identifier, sequence, payload)
        try:
            self._socket.sendto(packet, (str(destination), 0))
        except OSError as error:
            return error
        return None

    def start_reading(self, on_reply: Callable[[EchoReply], None]) -> None:
        """Call ``on_reply`` from the running loop for each reply to this socket's requests."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read, on_reply)

    def close(self) -> None:
        """Stop reading and close; idempotent."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._loop = None
        self._socket.close()

    def _read(self, on_reply: Callable[[EchoReply], None]) -> None:
        with suppress(BlockingIOError):
            while True:
                try:
                    packet, address = self._socket.recvfrom(65535)
                except BlockingIOError:
                    raise
                except OSError:  # an ICMP error about an earlier packet: that packet stays lost
                    continue
                reply = decode_reply(self.family, packet)
                if reply is not None and reply[0] == self._identifier:
                    source = IPAddress.parse(address[0].partition("%")[0])
                    on_reply(EchoReply(source, reply[1], len(reply[2])))


def _open(family: Family) -> socket.socket:
    protocol = socket.IPPROTO_ICMP if family is Family.IPV4 else socket.IPPROTO_ICMPV6
    try:
        raw = socket.socket(int(family), socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    except PermissionError as error:
        raise PrivilegeError("pinging needs CAP_NET_RAW in the namespace: run as root") from error
    if family is Family.IPV4:
        raw.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        only_replies = ~(1 << _TYPES[family][1]) & 0xFFFFFFFF
        raw.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", only_replies))
    else:
        raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
        raw.setsockopt(protocol, _ICMP6_FILTER, _block_all_but(_TYPES[family][1]))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    return raw


def _block_all_but(kind: int) -> bytes:
    words = [0xFFFFFFFF] * 8
    words[kind >> 5] &= ~(1 << (kind & 31)) & 0xFFFFFFFF
    return struct.pack("=8I", *words)
