"""A few files watched through inotify, on the running event loop."""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable

MODIFIED = 0x2
"""IN_MODIFY: bytes were written."""
TOUCHED = 0x4
"""IN_ATTRIB: times, rights or the number of links changed."""
GONE = 0x400 | 0x800
"""IN_DELETE_SELF and IN_MOVE_SELF."""

_EVENT = struct.Struct("iIII")


class FileWatch:
    """Calls ``changed(path, mask)`` for each event until closed; OSError where inotify has none."""

    def __init__(self, changed: Callable[[str, int], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._check(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._paths: dict[int, str] = {}
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def add(self, path: str, mask: int) -> None:
        """Watch the file that ``path`` names now; OSError if there is none."""
        watch = self._check(self._libc.inotify_add_watch(self._fd, os.fsencode(path), mask))
        self._paths[watch] = path

    def close(self) -> None:
        """Stop. Idempotent."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        data = os.read(self._fd, 65536)
        at = 0
        masks: dict[str, int] = {}
        while at < len(data):
            watch, mask, _, name_length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + name_length
            path = self._paths.get(watch, "")
            masks[path] = masks.get(path, 0) | mask
        for path, mask in masks.items():
            self._changed(path, mask)

    @staticmethod
    def _check(result: int) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result
