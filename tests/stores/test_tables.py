"""The two tables behave alike under any sequence of writes."""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from flannel_sdk.stores.memory import MemoryTable
from flannel_sdk.stores.sqlite_schema import create_if_absent
from flannel_sdk.stores.sqlite_table import SqliteTable
from flannel_sdk.stores.table import Changes, Writer

KEYS = st.sampled_from(["10.3.1.0-24", "10.3.2.0-24", "10.3.3.0-24", "odd"])
VALUES = st.sampled_from(
    [
        b"{}",
        b"\xff",
        b'{"PublicIP":"1.2.3.4"}',
        b'{"PublicIP":"::ffff:1.2.3.4"}',
        b'{"publicip":"1.2.3.4"}',
        b'{"PublicIP":"\\u0031.2.3.4"}',
        b'{"PublicIP":"',
    ]
)
WRITES = st.one_of(
    st.tuples(st.just("put"), KEYS, VALUES)
    | st.tuples(st.just("expire"), st.integers(0, 10), st.none())
    | st.tuples(st.just("delete"), KEYS, st.none())
    | st.tuples(st.just("config"), st.sampled_from(["{}", "[]"]), st.none())
    | st.tuples(st.just("put for ever"), KEYS, st.just(b"{}"))
)
Write = tuple[str, str | int, bytes | None]


def apply(table: Writer, write: Write) -> None:
    name, subject, value = write
    if name == "put":
        table.put(str(subject), value or b"", float(len(value or b"")))
    elif name == "put for ever":
        table.put(str(subject), value or b"", None)
    elif name == "delete":
        table.delete(str(subject))
    elif name == "expire":
        table.delete_expired(float(subject))
    else:
        table.put_config(str(subject))


def facts(table: Writer, revisions: list[int]) -> list[object]:
    def keys(changes: Changes | None) -> object:
        return None if changes is None else (sorted(changes.keys), changes.revision)

    return [
        [tuple(row) for row in table.rows()],
        [tuple(row) for row in table.mentioning("1.2.3.4")],
        [tuple(row) for row in table.oddly_spelled()],
        sorted(table.all_keys()),
        table.row("odd"),
        table.config(),
        table.revision(),
        table.next_expiry(),
        [keys(table.changed_since(revision)) for revision in revisions],
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(WRITES, max_size=12))
def test_both_tables_tell_the_same(writes: list[Write]) -> None:
    with TemporaryDirectory() as directory:
        path = str(Path(directory) / "net.db")
        create_if_absent(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            tables: list[Writer] = [MemoryTable(), SqliteTable(connection)]
            revisions = [0]
            for write in writes:
                for table in tables:
                    apply(table, write)
                revisions.append(tables[0].revision())
                one, two = (facts(table, [*revisions, 10**9]) for table in tables)
                assert one == two
