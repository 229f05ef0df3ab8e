"""IPv4 headers as they lie in a buffer; offsets are RFC 791's."""

from struct import Struct
from typing import Final

IPV4: Final = Struct("!BBHHHBBHII")
"""Version and header length, TOS, total length, id, flags and offset, TTL, protocol, checksum,
source, destination."""
VERSION_4: Final = 4
NOT_FIRST: Final = 0x1FFF
"""Of flags and offset: not zero in all fragments but the first."""
MORE_OR_OFFSET: Final = 0x3FFF
"""Not zero in every fragment."""
DONT_FRAGMENT: Final = 0x4000
ICMP: Final = 1
TCP: Final = 6

Buffer = bytearray | memoryview
_TTL_AND_PROTOCOL: Final = Struct("!BBH")


def spend_hop(buffer: Buffer, start: int, ttl: int, protocol: int, checksum: int) -> None:
    """Write the header's TTL less one and its checksum, changed in step as flannel does it."""
    checksum = checksum + 0x100 + (checksum >= 0xFEFF) & 0xFFFF
    _TTL_AND_PROTOCOL.pack_into(buffer, start + 8, ttl - 1, protocol, checksum)


def is_consistent(version_and_length: int, total: int, size: int) -> bool:
    """Whether lengths of an IPv4 header fit each other and the ``size`` bytes that there are."""
    header = (version_and_length & 15) * 4
    return 20 <= header <= total <= size
