"""The old iptables' tables as the kernel has them, read without a process and without its lock."""

import ctypes
import errno
import os
import socket
import sys
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple, Self

from flannel_sdk.errors import KernelRefused, PrivilegeError
from flannel_sdk.hostnet.firewall.rules import NO_RIGHT
from flannel_sdk.model import Family

_NAMES: Final = {Family.IPV4: "ip_tables_names", Family.IPV6: "ip6_tables_names"}
_LEVEL: Final = {Family.IPV4: socket.IPPROTO_IP, Family.IPV6: socket.IPPROTO_IPV6}
_GET_INFO: Final = 64
_GET_ENTRIES: Final = 65
_NAME_SIZE: Final = 32
_INFO: Final = Struct("=32sI5I5III")
"""ipt_getinfo: name, valid hooks, offset of each hook's first rule, of its policy, count, size."""
_FORWARD: Final = 2
_REQUEST_SIZE: Final = 40
"""ipt_get_entries up to its entries."""
_DROP: Final = -1


class _Layout(NamedTuple):
    """Where things are in ipt_entry and ip6t_entry, in bytes."""

    next_offset: int
    counters: int
    header: int
    """All of it, before the matches."""


_LAYOUTS: Final = {Family.IPV4: _Layout(90, 96, 112), Family.IPV6: _Layout(142, 152, 168)}
_SHORT: Final = Struct("=H")
_VERDICT: Final = Struct("=i")
_libc: Final = ctypes.CDLL(None, use_errno=True)


def legacy_tables(family: Family) -> set[str]:
    """The tables that are in use in the calling thread's namespace.

    Asking the kernel for another one would make it.
    """
    try:
        return set(Path(f"/proc/thread-self/net/{_NAMES[family]}").read_text().split())
    except OSError:
        return set()


class LegacyTables:
    """The tables of one family in the namespace in which this was made; blocking.

    OSError where this kernel lacks the family. The methods raise PrivilegeError without
    CAP_NET_ADMIN, and KernelRefused where the kernel does not answer.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        # Any socket of the family will do; iptables' own is raw, which takes another right.
        self._socket = socket.socket(family, socket.SOCK_DGRAM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the descriptor."""
        self._socket.close()

    def size(self, table: str) -> tuple[int, int]:
        """How many rules a table has, and how many bytes they take; costs microseconds."""
        *_, count, size = self._info(table)
        return int(count), int(size)

    def fingerprint(self, table: str) -> int:
        """Another one for each other content; counters do not count."""
        entries = self._entries(table)
        layout = _LAYOUTS[self._family]
        offset = 0
        while offset + layout.header <= len(entries):
            entries[offset + layout.counters : offset + layout.counters + 16] = bytes(16)
            (step,) = _SHORT.unpack_from(entries, offset + layout.next_offset)
            if step < layout.header:
                break
            offset += step
        return hash(bytes(entries))

    def mentions(self, table: str, name: str) -> bool:
        """Whether a table has a chain whose name begins so."""
        return b"\0" + name.encode() in self._entries(table)

    def drops_forwarded(self) -> bool:
        """Whether FORWARD drops what no rule accepts."""
        policy = self._info("filter")[6 + _FORWARD]
        layout = _LAYOUTS[self._family]
        entries = self._entries("filter")
        # A policy is a rule without matches whose target's verdict follows its 32 bytes of header.
        verdict = policy + layout.header + 32
        return verdict + 4 <= len(entries) and _VERDICT.unpack_from(entries, verdict)[0] == _DROP

    def _info(self, table: str) -> tuple[int, ...]:
        buffer = ctypes.create_string_buffer(table.encode(), _INFO.size)
        self._get(_GET_INFO, buffer)
        return tuple(map(int, _INFO.unpack(buffer.raw)[1:]))

    def _entries(self, table: str) -> bytearray:
        size = self._info(table)[-1]
        request = table.encode().ljust(_NAME_SIZE, b"\0") + size.to_bytes(4, sys.byteorder)
        buffer = ctypes.create_string_buffer(request, _REQUEST_SIZE + size)
        self._get(_GET_ENTRIES, buffer)
        return bytearray(buffer.raw[_REQUEST_SIZE:])

    def _get(self, option: int, buffer: "ctypes.Array[ctypes.c_char]") -> None:
        length = ctypes.c_uint32(len(buffer))
        level = _LEVEL[self._family]
        descriptor = self._socket.fileno()
        if _libc.getsockopt(descriptor, level, option, buffer, ctypes.byref(length)) != 0:
            number = ctypes.get_errno()
            if number == errno.EPERM:
                raise PrivilegeError(NO_RIGHT)
            raise KernelRefused(
                f"cannot read the tables of iptables: {os.strerror(number)}", number
            )
