"""The store file of one manager: a connection in a thread of its own, and what can go wrong."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeVar

from flannel_sdk.errors import ConfigMissing, StoreCorrupt, StoreError, StoreUnavailable
from flannel_sdk.stores.sqlite_files import FileIdentity, drop_stale_log, identify, pin
from flannel_sdk.stores.sqlite_schema import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    TABLES,
    create_if_absent,
)
from flannel_sdk.stores.sqlite_signal import ChangeSignal
from flannel_sdk.stores.sqlite_table import SqliteTable
from flannel_sdk.stores.table import Reader, Wakeups, Writer

T = TypeVar("T")

_BUSY_SECONDS = 10.0
"""How long a writer waits for the others."""
_PERMANENT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
_MAY_NOT_WRITE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


class SqliteStorage:
    """Storage in one SQLite file, shared by any number of processes of this host."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flannel-sdk-sqlite")
        self._signal = ChangeSignal(path)
        self._closed = False
        # Used in the thread alone:
        self._connection: sqlite3.Connection | None = None
        self._identity: FileIdentity | None = None
        """Of the file that was opened last, and of its log."""
        self._pins = ExitStack()
        self._generation = 0
        """Number of times that the file was opened."""

    async def read(self, work: Callable[[Reader], T]) -> T:
        """See Storage; ConfigMissing, and no file is made, where there is none."""
        return await self._in_thread(lambda: self._transact("BEGIN", work, create=False))

    async def write(self, work: Callable[[Writer], T]) -> T:
        """See Storage."""
        return await self._in_thread(lambda: self._transact("BEGIN IMMEDIATE", work))

    async def subscribe(self) -> Wakeups:
        """See Storage."""
        # The first read makes the files that are watched.
        generation = await self._in_thread(
            lambda: self._transact("BEGIN", lambda table: (table.epoch(), self._generation)[1])
        )
        return self._signal.subscribe(generation)

    async def aclose(self) -> None:
        """See Storage."""
        if self._closed:
            return
        self._closed = True
        self._signal.wake_all()
        closed = False
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._release)
            closed = True
        finally:
            # Cancelled, we do not wait; the thread ends by itself after what it does now.
            self._thread.shutdown(wait=closed)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise StoreUnavailable(f"The store {self._path} is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _transact(self, begin: str, work: Callable[[SqliteTable], T], *, create: bool = True) -> T:
        try:
            connection = self._connected(create)
            written = connection.total_changes
            connection.execute(begin)
            try:
                result = work(SqliteTable(connection))
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            if connection.total_changes != written:
                self._refuse_replaced()
                with suppress(OSError):  # it took effect all the same, and the log tells others
                    os.utime(self._path)
        except sqlite3.Error as error:
            self._disconnect()
            raise self._translated(error) from error
        except FileNotFoundError as error:
            self._disconnect()
            raise StoreUnavailable(self._absence()) from error
        except OSError as error:
            self._disconnect()
            reason = error.strerror or error
            raise StoreUnavailable(f"The store {self._path} cannot be used: {reason}.") from error
        return result

    def _connected(self, create: bool) -> sqlite3.Connection:
        """The connection to the file that the path names, which is made first where asked for."""
        if self._connection is not None:
            self._refuse_replaced()
            return self._connection
        if self._identity is None and create:
            create_if_absent(self._path)
        elif self._identity is None:
            if not os.path.lexists(self._path):
                raise ConfigMissing(
                    f"There is no store at {self._path} yet, and so no network configuration: "
                    "put one there with flannel-sdk config put."
                )
        else:
            # Where it was deleted, a new, empty file would tell everybody that all peers are gone.
            drop_stale_log(self._path, self._identity)
        connection = sqlite3.connect(
            f"file:{_quoted(self._path)}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=_BUSY_SECONDS,
        )
        # A key that is no UTF-8 hides itself, and must not make all others unreadable.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        try:
            self._refuse_foreign(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            identity, pins = pin(self._path)
        except BaseException:
            connection.close()
            raise
        self._pins.close()
        self._identity, self._pins = identity, pins
        self._connection = connection
        self._generation += 1
        return connection

    def _refuse_foreign(self, connection: sqlite3.Connection) -> None:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise StoreCorrupt(
                f"{self._path} is not a store of flannel-sdk, and was left as it is."
            )
        if version != SCHEMA_VERSION:
            raise StoreCorrupt(
                f"The store {self._path} has layout {version} and this release reads "
                f"{SCHEMA_VERSION}; it was left as it is."
            )
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not found >= TABLES:
            missing = ", ".join(sorted(TABLES - found))
            raise StoreCorrupt(
                f"The store {self._path} is corrupt, and was left as it is: it lacks {missing}."
            )

    def _refuse_replaced(self) -> None:
        """Notice that the open file is not the one that others find under the path."""
        try:
            replaced = identify(self._path) != self._identity
        except FileNotFoundError as error:
            self._disconnect()
            raise StoreUnavailable(self._absence()) from error
        if replaced:
            self._disconnect()
            raise StoreUnavailable(f"The store {self._path} was replaced while in use.")

    def _absence(self) -> str:
        if self._identity is not None:
            return f"The store {self._path} was deleted while in use."
        return f"The store {self._path} cannot be made: its directory does not exist."

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(sqlite3.Error):
                connection.close()

    def _release(self) -> None:
        self._disconnect()
        self._pins.close()

    def _translated(self, error: sqlite3.Error) -> StoreError:
        # Extended codes hold the primary one in their lowest byte.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _PERMANENT:
            return StoreCorrupt(
                f"The store {self._path} is corrupt, and was left as it is: {error}."
            )
        if code == sqlite3.SQLITE_BUSY:
            return StoreUnavailable(
                f"The store {self._path} was locked by another process for {_BUSY_SECONDS:g} s."
            )
        hint = ": is it writable, and its directory too?" if code in _MAY_NOT_WRITE else ""
        return StoreUnavailable(f"The store {self._path} cannot be used: {error}{hint or '.'}")


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
