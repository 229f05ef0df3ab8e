"""Which files a store is at this moment, and what to do when somebody exchanges them."""

import fcntl
import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple


class FileIdentity(NamedTuple):
    """Device and inode of the database and of its write-ahead log."""

    database: tuple[int, int]
    log: tuple[int, int]


def identify(path: str) -> FileIdentity:
    """The files that the path names now; FileNotFoundError if one is missing."""
    return FileIdentity(_inode(path), _inode(f"{path}-wal"))


def pin(path: str) -> tuple[FileIdentity, ExitStack]:
    """The files that the path names now, and what keeps them from being taken for others.

    A number of a deleted file is given to the next one that is made: the log of a new store had
    the number of the old one's, was taken for it, and deleted under its owner. No file gets the
    number of one that is open. The descriptors are O_PATH, whose closing frees no POSIX locks.
    """
    with ExitStack() as pins:
        numbers = []
        for name in (path, f"{path}-wal"):
            descriptor = os.open(name, os.O_PATH | os.O_CLOEXEC)
            pins.callback(os.close, descriptor)
            status = os.fstat(descriptor)
            numbers.append((status.st_dev, status.st_ino))
        return FileIdentity(*numbers), pins.pop_all()


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
