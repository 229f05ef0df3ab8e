"""IPv4 and TCP packets for tests, and a checksum the plain way to judge by."""

from struct import pack

ACK, PSH, FIN, CWR = 0x10, 0x08, 0x01, 0x80
PEER, OTHER, OWN = "10.5.2.2", "10.5.3.3", "10.5.1.1"


def plain_checksum(data: bytes | bytearray) -> int:
    """RFC 1071 word by word; 0 for data that holds its right checksum."""
    total = sum(byte << 8 * (1 - place % 2) for place, byte in enumerate(data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(address: str) -> bytes:
    return bytes(map(int, address.split(".")))


def ipv4(
    payload: bytes,
    *,
    protocol: int = 17,
    source: str = OWN,
    destination: str = PEER,
    ttl: int = 64,
    identity: int = 7,
    fragment: int = 0x4000,
    options: bytes = b"",
) -> bytes:
    """A packet with a right header checksum; ``options`` of a multiple of 4 bytes."""
    length = 20 + len(options)
    head = pack(
        "!BBHHHBBH4s4s",
        *(0x40 | length // 4, 0, length + len(payload), identity, fragment, ttl, protocol, 0),
        *(packed(source), packed(destination)),
    )
    head += options
    return head[:10] + pack("!H", plain_checksum(head)) + head[12:] + payload


def tcp(
    data: bytes,
    *,
    sequence: int = 1000,
    flags: int = ACK,
    window: int = 500,
    options: bytes = b"\x01\x01\x08\x0a" + bytes(8),
    source: str = OWN,
    destination: str = PEER,
    ttl: int = 64,
    identity: int = 7,
    ip_options: bytes = b"",
) -> bytes:
    """A segment in its packet, all checksums right."""
    length = 20 + len(options)
    segment = pack("!HHIIBBHHH", 40000, 80, sequence, 9, length // 4 << 4, flags, window, 0, 0)
    segment += options + data
    pseudo = packed(source) + packed(destination) + pack("!BBH", 0, 6, len(segment))
    checksum = plain_checksum(pseudo + segment)
    segment = segment[:16] + pack("!H", checksum) + segment[18:]
    return ipv4(
        segment, protocol=6, source=source, destination=destination, ttl=ttl, identity=identity,
        options=ip_options,
    )  # fmt: skip


def tcp_is_right(packet: bytes) -> bool:
    """Whether lengths and both checksums of a TCP packet are right."""
    header = (packet[0] & 15) * 4
    pseudo = packet[12:20] + pack("!BBH", 0, 6, len(packet) - header)
    return (
        int.from_bytes(packet[2:4], "big") == len(packet)
        and plain_checksum(packet[:header]) == 0
        and plain_checksum(pseudo + packet[header:]) == 0
    )


def spent(packet: bytes) -> bytes:
    """The packet one hop on: TTL less one, the checksum made anew."""
    header = (packet[0] & 15) * 4
    head = packet[:8] + bytes([packet[8] - 1]) + packet[9:10] + b"\0\0" + packet[12:header]
    return (
        head[:10]
        + pack("!H", plain_checksum(head))
        + packet[10 + 2 : 12]
        + head[12:]
        + packet[header:]
    )
