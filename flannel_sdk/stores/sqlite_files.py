"""Which files a store is at this moment, and what to do when somebody exchanges them."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import NamedTuple


class FileIdentity(NamedTuple):
    """Device and inode of the database and of its write-ahead log."""

    database: tuple[int, int]
    log: tuple[int, int]


def identify(path: str) -> FileIdentity:
    """The files that the path names now; FileNotFoundError if one is missing."""
    return FileIdentity(_inode(path), _inode(f"{path}-wal"))


def drop_stale_log(path: str, last: FileIdentity) -> None:
    """Before a file is opened again: delete the log if it belongs to the file that was there.

    SQLite would read the changes of the old database into the new one. FileNotFoundError if there
    is no database.
    """
    with directory_lock(path):
        if _inode(path) == last.database:
            return
        with suppress(FileNotFoundError):
            if _inode(f"{path}-wal") == last.log:
                os.unlink(f"{path}-wal")
                os.unlink(f"{path}-shm")


@contextmanager
def directory_lock(path: str) -> Generator[None, None, None]:
    """Nobody else makes or exchanges the files of a store in this directory."""
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _inode(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
