"""Socket filters (classic BPF): the kernel drops messages that a socket need not see."""

import ctypes
import socket
from collections.abc import Sequence
from struct import Struct, pack, unpack
from typing import Final

LOAD_WORD: Final = 0x20
"""Load 32 bits, big end first, from an offset."""
LOAD_HALF: Final = 0x28
"""Load 16 bits, big end first, from an offset."""
IF_EQUAL: Final = 0x15
"""Skip so many steps if what was loaded is equal, and so many if it is not."""
GIVE: Final = 0x06
"""End, and let so many bytes of the message through."""
ALL: Final = 0xFFFFFFFF

Step = tuple[int, int, int, int]
"""Operation, steps skipped if true and if false, operand."""

_SO_ATTACH_FILTER: Final = 26
_STEP: Final = Struct("=HBBI")


def attach_filter(sock: socket.socket, steps: Sequence[Step]) -> None:
    """Give ``sock`` a filter; OSError where the kernel does not take it."""
    program = b"".join(_STEP.pack(*step) for step in steps)
    code = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        pack("HxxxxxxP", len(steps), ctypes.addressof(code)),
    )


def swapped_half(value: int) -> int:
    """16 bits in host order, as a filter that loads them big end first sees them."""
    (big,) = unpack(">H", pack("=H", value))
    return int(big)


def swapped_word(value: int) -> int:
    """32 bits in host order, as a filter that loads them big end first sees them."""
    (big,) = unpack(">I", pack("=I", value))
    return int(big)
