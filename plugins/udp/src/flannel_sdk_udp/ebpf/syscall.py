"""bpf(2): maps and programs by their descriptors (linux/bpf.h, ``union bpf_attr``)."""

import ctypes
import errno
import os
import platform
import sys
from struct import pack, unpack_from
from typing import Final

_NUMBERS: Final = {
    "x86_64": 321,
    "aarch64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
    "riscv64": 280,
}
"""The system call's number by machine: little-endian ones, as the object is, and of 64 bits."""

_MAP_CREATE = 0
_MAP_LOOKUP = 1
_MAP_UPDATE = 2
_MAP_DELETE = 3
_PROGRAM_LOAD = 5
_INFO_BY_DESCRIPTOR = 15
_SCHED_CLS = 3
_LOG_SIZE = 1 << 16


class ProgramRefused(OSError):
    """The verifier's verdict; ``log`` is what it said last."""

    def __init__(self, number: int, log: str) -> None:
        super().__init__(number, os.strerror(number))
        self.log = log


class Buffer:
    """Memory the kernel reads or writes: a ctypes array and its address."""

    def __init__(self, content: bytes | int) -> None:
        self._array = (
            ctypes.create_string_buffer(content)
            if isinstance(content, int)
            else (ctypes.create_string_buffer(content, len(content)))
        )
        self.address = ctypes.addressof(self._array)

    def __bytes__(self) -> bytes:
        return self._array.raw


_libc: Final = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes | bytearray) -> tuple[int, bytes]:
    """One call: its result, and the attributes as the kernel left them; OSError."""
    number = _NUMBERS.get(platform.machine()) if sys.maxsize > 1 << 32 else None
    if number is None:
        raise OSError(errno.ENOSYS, f"our programs are not for {platform.machine()}")
    block = ctypes.create_string_buffer(bytes(attributes), len(attributes))
    while True:
        result = _libc.syscall(
            ctypes.c_long(number),
            ctypes.c_long(command),
            block,
            ctypes.c_ulong(len(attributes)),
        )
        if result >= 0:
            return result, block.raw
        code = ctypes.get_errno()
        # the verifier is interrupted by signals
        if code not in (errno.EINTR, errno.EAGAIN):
            raise OSError(code, os.strerror(code))


def create_map(name: str, shape: tuple[int, int, int, int, int]) -> int:
    """A new map's descriptor (close-on-exec, as all of bpf(2)).

    ``shape``: type, bytes of a key, bytes of a value, most entries, flags.
    """
    numbers = pack("=5I8x16s", *shape, name[:15].encode())
    return bpf(_MAP_CREATE, numbers)[0]


def load_program(name: str, code: bytes, license_text: bytes) -> int:
    """The descriptor of a tc program; ProgramRefused where the verifier says no."""
    instructions, terms, log = Buffer(code), Buffer(license_text + b"\0"), Buffer(_LOG_SIZE)

    def load(log_level: int) -> int:
        attributes = pack(
            "=2I2Q2IQ2I16s",
            _SCHED_CLS,
            len(code) // 8,
            instructions.address,
            terms.address,
            log_level,
            _LOG_SIZE if log_level else 0,
            log.address if log_level else 0,
            0,
            0,
            name[:15].encode(),
        )
        return bpf(_PROGRAM_LOAD, attributes)[0]

    try:
        return load(0)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        number = error.errno or errno.EINVAL
    try:
        return load(1)
    except OSError:
        said = bytes(log).partition(b"\0")[0].decode(errors="replace").strip().splitlines()
        raise ProgramRefused(number, "; ".join(said[-3:])) from None


class MapCalls:
    """Reads and writes of one map, with buffers that are made once; for one thread at a time."""

    def __init__(self, descriptor: int, key_size: int, value_size: int) -> None:
        self._key = ctypes.create_string_buffer(key_size)
        self._value = ctypes.create_string_buffer(value_size)
        self._attributes = pack(
            "=I4x2QQ",
            descriptor,
            ctypes.addressof(self._key),
            ctypes.addressof(self._value),
            0,
        )

    def update(self, key: bytes, value: bytes) -> None:
        """Set an entry; OSError E2BIG where the map is full."""
        self._key.raw = key
        self._value.raw = value
        bpf(_MAP_UPDATE, self._attributes)

    def lookup(self, key: bytes) -> bytes | None:
        """An entry's value, None where there is none."""
        self._key.raw = key
        try:
            bpf(_MAP_LOOKUP, self._attributes)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return self._value.raw

    def delete(self, key: bytes) -> None:
        """Remove an entry; fine if there is none."""
        self._key.raw = key
        try:
            bpf(_MAP_DELETE, self._attributes[:16])
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


def program_id(descriptor: int) -> int:
    """The id of a program, by which tc names it."""
    info = Buffer(16)
    bpf(_INFO_BY_DESCRIPTOR, pack("=2IQ", descriptor, 16, info.address))
    return int(unpack_from("=I", bytes(info), 4)[0])
