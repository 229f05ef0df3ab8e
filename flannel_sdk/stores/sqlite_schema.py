"""The tables of a store file, and how a file comes to be one in a single step."""

import os
import sqlite3
from contextlib import closing, suppress

from flannel_sdk.stores.sqlite_files import directory_lock

APPLICATION_ID = 0x666C616E
SCHEMA_VERSION = 1
TABLES = frozenset({"store", "config", "leases", "changes"})

_SCHEMA = """
CREATE TABLE store (epoch TEXT NOT NULL);
CREATE TABLE config (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    document TEXT NOT NULL
);
CREATE TABLE leases (
    key TEXT PRIMARY KEY CHECK (typeof(key) = 'text'),
    value BLOB NOT NULL,
    expires REAL CHECK (typeof(expires) IN ('real', 'null')),
    revision INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX leases_by_expiry ON leases (expires) WHERE expires IS NOT NULL;
CREATE TABLE changes (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL
);
CREATE TRIGGER lease_added AFTER INSERT ON leases BEGIN
    INSERT INTO changes (key) VALUES (new.key);
    UPDATE leases SET revision = last_insert_rowid() WHERE key = new.key;
END;
CREATE TRIGGER lease_changed AFTER UPDATE OF value, expires ON leases BEGIN
    INSERT INTO changes (key) VALUES (new.key);
    UPDATE leases SET revision = last_insert_rowid() WHERE key = new.key;
END;
CREATE TRIGGER lease_removed AFTER DELETE ON leases BEGIN
    INSERT INTO changes (key) VALUES (old.key);
END;
CREATE TRIGGER config_added AFTER INSERT ON config BEGIN
    INSERT INTO changes (key) VALUES ('');
END;
CREATE TRIGGER config_changed AFTER UPDATE ON config BEGIN
    INSERT INTO changes (key) VALUES ('');
END;
"""


def create_if_absent(path: str) -> None:
    """Make the store file unless something is there; it appears complete or not at all.

    Its directory is made too. Creators wait for each other on a lock of the directory. OSError or
    sqlite3.Error as they come.
    """
    if os.path.lexists(path):
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with directory_lock(path):
        if os.path.lexists(path):
            return
        draft = f"{path}.new"
        # A draft is what a killed creator left; a log without its file belongs to a deleted store,
        # and SQLite would read it into the new one.
        for leftover in (draft, f"{draft}-wal", f"{draft}-shm", f"{path}-wal", f"{path}-shm"):
            with suppress(FileNotFoundError):
                os.unlink(leftover)
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN;{_SCHEMA}")
            connection.execute("INSERT INTO store VALUES (?)", (os.urandom(8).hex(),))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        os.rename(draft, path)
