"""The table of entries as SQL, on a connection within a transaction."""

import sqlite3
from collections.abc import Sequence
from typing import cast

from flannel_sdk.stores.table import USUAL_START, Changes, Row

_LOG_LENGTH = 4096
"""Changes kept in the log; a watcher that is further behind gets a snapshot."""
_TRIM_EVERY = 256
_LONGEST_DELTA = 2048
"""Above this many changed keys a snapshot costs less than a delta."""
_COLUMNS = "key, CAST(value AS BLOB), expires, revision"

_Tuples = Sequence[tuple[str, bytes, float | None, int]]


class SqliteTable:
    """Reader and Writer; sqlite3.Error as it comes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def epoch(self) -> str:
        """See Reader."""
        return cast(str, self._one("SELECT epoch FROM store"))

    def revision(self) -> int:
        """See Reader."""
        return cast(int, self._one("SELECT seq FROM sqlite_sequence WHERE name = 'changes'") or 0)

    def config(self) -> str | None:
        """See Reader."""
        return cast(str | None, self._one("SELECT document FROM config"))

    def rows(self) -> _Tuples:
        """See Reader."""
        return self._connection.execute(f"SELECT {_COLUMNS} FROM leases ORDER BY key").fetchall()

    def row(self, key: str) -> Row | None:
        """See Reader."""
        found = self._connection.execute(
            f"SELECT {_COLUMNS} FROM leases WHERE key = ?", (key,)
        ).fetchone()
        return None if found is None else Row._make(found)

    def mentioning(self, text: str) -> _Tuples:
        """See Reader."""
        return self._connection.execute(
            f"SELECT {_COLUMNS} FROM leases WHERE instr(value, ?) ORDER BY key", (text.encode(),)
        ).fetchall()

    def oddly_spelled(self) -> _Tuples:
        """See Reader."""
        return self._connection.execute(
            f"SELECT {_COLUMNS} FROM leases WHERE substr(value, 1, ?) != ? "
            "OR hex(substr(value, ?, 1)) NOT BETWEEN '30' AND '39' OR instr(value, x'5c') "
            "ORDER BY key",
            (len(USUAL_START), USUAL_START, len(USUAL_START) + 1),
        ).fetchall()

    def all_keys(self) -> Sequence[str]:
        """See Reader."""
        return [key for (key,) in self._connection.execute("SELECT key FROM leases")]

    def changed_since(self, revision: int) -> Changes | None:
        """See Reader."""
        newest = self.revision()
        oldest = cast(int | None, self._one("SELECT min(revision) FROM changes"))
        if not (newest if oldest is None else oldest - 1) <= revision <= newest:
            return None
        if newest - revision > _LONGEST_DELTA:
            return None
        found = self._connection.execute(
            "SELECT key FROM changes WHERE revision > ? AND key != '' "
            "GROUP BY key ORDER BY max(revision)",
            (revision,),
        )
        return Changes([key for (key,) in found], newest)

    def next_expiry(self) -> float | None:
        """See Reader."""
        return cast(
            float | None,
            self._one("SELECT min(expires) FROM leases WHERE expires IS NOT NULL"),
        )

    def put(self, key: str, value: bytes, expires_at: float | None) -> Row:
        """See Writer."""
        self._connection.execute(
            "INSERT INTO leases (key, value, expires) VALUES (?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires",
            (key, value, expires_at),
        )
        row = self.row(key)
        if row is None:
            raise sqlite3.DatabaseError(f"the entry {key} is not there after it was written")
        if row.revision % _TRIM_EVERY == 0:
            self._connection.execute(
                "DELETE FROM changes WHERE revision <= ?", (row.revision - _LOG_LENGTH,)
            )
        return row

    def delete(self, key: str) -> None:
        """See Writer."""
        self._connection.execute("DELETE FROM leases WHERE key = ?", (key,))

    def delete_expired(self, now: float) -> None:
        """See Writer."""
        self._connection.execute("DELETE FROM leases WHERE expires <= ?", (now,))

    def put_config(self, document: str) -> None:
        """See Writer."""
        self._connection.execute(
            "INSERT INTO config VALUES (1, ?) "
            "ON CONFLICT (id) DO UPDATE SET document = excluded.document",
            (document,),
        )

    def _one(self, query: str) -> object:
        row = self._connection.execute(query).fetchone()
        return None if row is None else row[0]
