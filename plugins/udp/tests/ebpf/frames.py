"""Frames made by hand: IPv4 in UDP in IPv4 in Ethernet, right or wrong in any field."""

import struct
from typing import Final

HERE, PEER, STRANGER = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]), bytes([192, 0, 2, 99])
PORT: Final = 8285


def ones_sum(data: bytes) -> int:
    """The Internet checksum's sum (RFC 1071) of an even number of bytes, not complemented."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ipv4(
    payload: bytes,
    *,
    source: bytes = bytes([10, 5, 2, 7]),
    destination: bytes = bytes([10, 5, 1, 7]),
    protocol: int = 17,
    ttl: int = 64,
    version: int = 4,
    words: int | None = None,
    length: int | None = None,
    fragment: int = 0,
    options: bytes = b"",
    checksum: int | None = None,
) -> bytes:
    """A packet whose fields are right unless they are given."""
    header = 20 + len(options)
    row = [
        version << 4 | (header // 4 if words is None else words),
        0,
        header + len(payload) if length is None else length,
        0,
        fragment,
        ttl,
        protocol,
        0,
        source,
        destination,
    ]
    without = struct.pack("!BBHHHBBH4s4s", *row) + options
    row[7] = 0xFFFF - ones_sum(without) if checksum is None else checksum
    return struct.pack("!BBHHHBBH4s4s", *row) + options + payload


def udp(payload: bytes, *, port: int = PORT, length: int | None = None) -> bytes:
    """A datagram from our port to ``port``."""
    return (
        struct.pack("!HHHH", PORT, port, 8 + len(payload) if length is None else length, 0)
        + payload
    )


def ethernet(payload: bytes, *, kind: int = 0x0800, to: bytes = bytes(6)) -> bytes:
    """A frame; the loopback device, which programs are tested on, has the address of all zeros."""
    return to + bytes([2, 0, 0, 0, 0, 2]) + kind.to_bytes(2, "big") + payload


def tunnelled(inner: bytes, *, source: bytes = PEER) -> bytes:
    """A frame with ``inner`` from a peer."""
    return ethernet(ipv4(udp(inner), source=source, destination=HERE))


def one_hop_less(packet: bytes) -> bytes:
    """The packet as flannel's tunnel lets it out: a checksum that was wrong stays wrong."""
    old = int.from_bytes(packet[10:12], "big")
    new = old + 0x0100 + (old >= 0xFEFF) & 0xFFFF
    return packet[:8] + bytes([packet[8] - 1]) + packet[9:10] + new.to_bytes(2, "big") + packet[12:]
