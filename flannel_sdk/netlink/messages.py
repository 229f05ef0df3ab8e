"""Headers, attributes and error messages: what all netlink messages share."""

import errno as errnos
import os
import sys
from struct import Struct
from typing import Final, NamedTuple

from flannel_sdk.netlink.constants import (
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSGERR_ATTR_MSG,
)

Buffer = bytes | bytearray | memoryview

HEADER: Final = Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence number, port."""
HEAD: Final = Struct("=IHH")
"""The first half of it, which is the same for all messages of a shape."""
ATTRIBUTE: Final = Struct("=HH")
"""rtattr: length with header, type."""
_WORD: Final = Struct("=I")
_ERROR: Final = Struct("=iI")
_TYPE_MASK: Final = 0x3FFF


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def word(kind: int, value: int) -> bytes:
    """One attribute of 32 bits in host order."""
    return ATTRIBUTE.pack(8, kind) + _WORD.pack(value)


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One whole message."""
    return HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body


def attributes(buffer: Buffer, offset: int, end: int) -> dict[int, bytes]:
    """Attributes between two offsets by type; the last of a type wins; garbage ends the walk."""
    found: dict[int, bytes] = {}
    while offset + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(buffer, offset)
        if length < 4 or offset + length > end:
            break
        found[kind & _TYPE_MASK] = bytes(buffer[offset + 4 : offset + length])
        offset += length + 3 & ~3
    return found


def number(payload: bytes | None) -> int:
    """An unsigned number of host order in an attribute; 0 for an absent one."""
    return int.from_bytes(payload or b"", sys.byteorder)


class Answer(NamedTuple):
    """An NLMSG_ERROR message; errno 0 is an acknowledgement."""

    sequence: int
    errno: int
    reason: str


def parse_answer(buffer: Buffer, offset: int, end: int, flags: int, sequence: int) -> Answer:
    """Read an NLMSG_ERROR message that starts at ``offset``."""
    code, echoed = _ERROR.unpack_from(buffer, offset + 16)
    if code == 0:
        return Answer(sequence, 0, "")
    text = ""
    if flags & NLM_F_ACK_TLVS:
        start = offset + 36 if flags & NLM_F_CAPPED else offset + 20 + (echoed + 3 & ~3)
        raw = attributes(buffer, start, end).get(NLMSGERR_ATTR_MSG, b"")
        text = raw.rstrip(b"\0").decode(errors="replace")
    return Answer(sequence, -code, describe(-code, text))


def describe(errno: int, text: str = "") -> str:
    """An error number in words, the kernel's own first."""
    name = errnos.errorcode.get(errno, str(errno))
    return f"{text} ({name})" if text else f"{os.strerror(errno)} ({name})"
