"""Large TCP packets: cut into those of the wire, and joined again for the TUN device.

The TUN device hands out and takes TCP packets of up to 64 KiB behind a ``virtio_net_hdr``
(linux/virtio_net.h), which says where to cut them and which checksum is to be made.
"""

from struct import Struct
from typing import Final, NamedTuple

from flannel_sdk_udp.userspace.checksum import ONES, finished, word_sum
from flannel_sdk_udp.userspace.packets import IPV4, MORE_OR_OFFSET, TCP

VNET: Final = Struct("=BBHHHH")
"""Flags, kind, header length, segment size, start of what is summed, place of the checksum."""
VNET_PLAIN: Final = VNET.pack(0, 0, 0, 0, 0, 0)
NEEDS_CHECKSUM: Final = 1
GSO_NONE: Final = 0
GSO_TCP4: Final = 1
GSO_ECN: Final = 0x80
_TCP: Final = Struct("!HHIIBBHHH")
"""Ports, sequence number, acknowledgement, length, flags, window, checksum, urgent pointer."""
_TCP4: Final = Struct("!BBHHHBBHIIHHIIBBHHH")
_FIN, _PSH, _ACK, _CWR = 0x01, 0x08, 0x10, 0x80
_LENGTH_AND_ID: Final = Struct("!HH")
_WORD: Final = Struct("!H")
_LONG: Final = Struct("!I")
_MOST_BYTES: Final = 65535


def complete_checksum(packet: memoryview, start: int, place: int) -> bool:
    """Finish the checksum of a packet whose field holds the pseudo header's sum; False if it lies
    outside of the packet."""
    if not 0 < start + place <= len(packet) - 2:
        return False
    _WORD.pack_into(packet, start + place, finished(word_sum(packet[start:])))
    return True


class Cut(NamedTuple):
    """A large packet as datagrams: all of ``size`` bytes but the last, which may be smaller."""

    views: list[memoryview]
    """Two for each datagram: its headers, and its part of the data."""
    size: int


def cut_tcp(packet: memoryview, segment: int) -> Cut | None:
    """Cut a TCP packet without fragment bits after each ``segment`` bytes of its data.

    The headers are the packet's, with lengths, sequence numbers, flags and checksums set; ``id``
    counts up. None if it is no such packet. Costs 5 us for each datagram, most of it for checksums.
    """
    fields = _tcp_fields(packet)
    if fields is None or segment < 1:
        return None
    ip, tcp, header = fields
    inner = (ip[0] & 15) * 4
    data = len(packet) - header
    count = max(1, -(-data // segment))
    heads = bytearray(packet[:header]) * count
    flags = tcp[5] & ~(_FIN | _PSH)
    constant = _tcp_constant(packet, inner, header, ip, flags)
    ip_constant = word_sum(packet[:inner]) - ip[2] - ip[3] - ip[7]
    identity, sequence = ip[3], tcp[2]
    views: list[memoryview] = []
    heads_view = memoryview(heads)
    at = 0
    for number in range(count):
        begin = header + number * segment
        part = packet[begin : begin + segment]
        length = header + len(part)
        name = (identity + number) & 0xFFFF
        where = (sequence + number * segment) & 0xFFFFFFFF
        now = flags
        if number:
            now &= ~_CWR
        if number == count - 1:
            now |= tcp[5] & (_FIN | _PSH)
        _LENGTH_AND_ID.pack_into(heads, at + 2, length, name)
        _WORD.pack_into(heads, at + 10, ONES - (ip_constant + length + name) % ONES)
        _LONG.pack_into(heads, at + inner + 4, where)
        heads[at + inner + 13] = now
        total = constant + length - inner + where + now - flags + word_sum(part)
        _WORD.pack_into(heads, at + inner + 16, ONES - total % ONES)
        views += (heads_view[at : at + header], part)
        at += header
    return Cut(views, header + min(segment, data))


def _tcp_fields(packet: memoryview) -> tuple[tuple[int, ...], tuple[int, ...], int] | None:
    """The IPv4 and TCP fields and the bytes of both headers, if that is what it has."""
    if len(packet) < 40:
        return None
    ip = IPV4.unpack_from(packet)
    inner = (ip[0] & 15) * 4
    if ip[6] != TCP or ip[4] & MORE_OR_OFFSET or len(packet) < inner + 20:
        return None
    tcp = _TCP.unpack_from(packet, inner)
    length = (tcp[4] >> 4) * 4
    if length < 20 or len(packet) < inner + length:
        return None
    return ip, tcp, inner + length


def _tcp_constant(
    packet: memoryview, inner: int, header: int, ip: tuple[int, ...], flags: int
) -> int:
    """What is the same in the checksums of all datagrams: pseudo header and most of TCP's."""
    tcp = bytearray(packet[inner:header])
    tcp[4:8] = bytes(4)
    tcp[13] = flags
    tcp[16:18] = bytes(2)
    return word_sum(tcp) + ip[8] + ip[9] + TCP


class Joined(NamedTuple):
    """Datagrams as one large packet, ready for ``os.writev`` on the TUN device."""

    views: list["bytes | memoryview"]
    end: int
    """Where the next datagram starts."""
    datagrams: int
    total: int
    """Bytes of the datagrams."""


def join_tcp(buffer: memoryview, start: int, end: int, size: int) -> Joined | None:
    """Join datagrams of ``size`` bytes (the last may be smaller) at ``start``, with one hop spent.

    Joins as many as are consecutive segments of one connection with the same headers otherwise,
    and whose checksums are right. None if those are less than two: then each goes by itself, and
    the kernel judges it.
    """
    if size & 1 or size < 40 or end - start < size + 40:
        return None  # the words of a second datagram would lie askew
    first = _TCP4.unpack_from(buffer, start)
    header = 20 + (first[14] >> 4) * 4
    if (
        first[0] != 0x45 or first[6] != TCP or first[2] != size or first[4] & MORE_OR_OFFSET
        or first[5] < 2 or not 40 <= header < size or first[15] & ~_PSH != _ACK
    ):  # fmt: skip
        return None
    stop, count, flags = _same_flow(buffer, start, end, size=size, header=header, first=first)
    if count < 2:
        return None
    datagrams = stop - start
    pseudo = first[8] + first[9] + TCP
    if (word_sum(buffer[start:stop]) + count * (pseudo - 20) + datagrams) % ONES:
        return None
    data = datagrams - count * header
    head = bytearray(buffer[start : start + header])
    length = header + data
    _LENGTH_AND_ID.pack_into(head, 2, length, first[3])
    head[8] = first[5] - 1
    head[10:12] = bytes(2)
    _WORD.pack_into(head, 10, finished(word_sum(head[:20])))
    head[33] = flags
    _WORD.pack_into(head, 36, (pseudo + length - 20) % ONES)
    vnet = VNET.pack(NEEDS_CHECKSUM, GSO_TCP4, header, size - header, 20, 16)
    views: list[bytes | memoryview] = [vnet + head]
    views += [buffer[at + header : min(at + size, stop)] for at in range(start, stop, size)]
    return Joined(views, stop, count, datagrams)


def _same_flow(
    buffer: memoryview, start: int, end: int, *, size: int, header: int, first: tuple[int, ...]
) -> tuple[int, int, int]:
    """Where the run that begins at ``start`` ends, how many it joins, and the flags of its last."""
    flags, count = first[15], 1
    at = start + size
    room = _MOST_BYTES - size
    options = buffer[start + 40 : start + header].tobytes() if header > 40 else b""
    step = size - header
    sequence = first[12]
    expected = (
        first[0],
        first[1],
        first[4],
        first[5],
        first[6],
        *first[8:12],
        first[13],
        first[14],
    )
    while at < end and not flags & _PSH:
        length = min(size, end - at)
        room -= length - header
        if length <= header or room < 0:
            break
        sequence = (sequence + step) & 0xFFFFFFFF
        (
            version, tos, total, _, fragment, ttl, protocol, _, source, destination, port, to_port,
            place, acknowledged, offset, bits, window, _, urgent,
        ) = _TCP4.unpack_from(buffer, at)  # fmt: skip
        if (
            place != sequence or total != length or bits & ~_PSH != _ACK
            or (version, tos, fragment, ttl, protocol, source, destination, port, to_port,
                acknowledged, offset) != expected
            or window != first[16] or urgent != first[18]
            or (options and buffer[at + 40 : at + header] != options)
        ):  # fmt: skip
            break
        flags = bits
        at += length
        count += 1
    return at, count, flags
