"""Which files a store is, whose log is thrown away, and who may exchange them meanwhile."""

import fcntl
import os
from pathlib import Path

import pytest

from flannel_sdk.stores.sqlite_files import directory_lock, drop_stale_log, identify, pin


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Files in the place of SQLite's: only what they are called and which they are counts."""
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"net.db{suffix}").write_text(f"old{suffix}")
    return tmp_path / "net.db"


def exchange(path: Path) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text("new")
    os.replace(fresh, path)


def names(database: Path) -> list[str]:
    return sorted(path.name for path in database.parent.iterdir())


def test_an_exchanged_file_has_another_identity(database: Path) -> None:
    before = identify(str(database))
    assert identify(str(database)) == before
    database.write_text("written, and the same file")
    assert identify(str(database)) == before
    exchange(database)
    after = identify(str(database))
    assert after.database != before.database
    assert after.log == before.log


@pytest.mark.parametrize("missing", ["net.db", "net.db-wal"])
def test_a_missing_file_has_none(database: Path, missing: str) -> None:
    (database.parent / missing).unlink()
    with pytest.raises(FileNotFoundError):
        identify(str(database))


def test_the_log_of_the_file_that_was_there_goes(database: Path) -> None:
    before = identify(str(database))
    exchange(database)
    drop_stale_log(str(database), before)
    assert names(database) == ["net.db"]


def test_the_log_of_the_same_file_stays(database: Path) -> None:
    drop_stale_log(str(database), identify(str(database)))
    assert names(database) == ["net.db", "net.db-shm", "net.db-wal"]


def test_the_log_that_came_with_the_new_file_stays(database: Path) -> None:
    before = identify(str(database))
    exchange(database)
    exchange(Path(f"{database}-wal"))
    drop_stale_log(str(database), before)
    assert "net.db-wal" in names(database)


def test_a_log_without_its_index_goes_too(database: Path) -> None:
    before = identify(str(database))
    exchange(database)
    Path(f"{database}-shm").unlink()
    drop_stale_log(str(database), before)
    assert names(database) == ["net.db"]


def test_a_pinned_log_lends_its_number_to_no_other_file(database: Path) -> None:
    before, pins = pin(str(database))
    assert before == identify(str(database))
    with pins:
        os.link(database, f"{database}-old")  # its number is not the one to be lent
        exchange(database)
        for _ in range(200):  # file systems that lend numbers again do so within a few files
            os.unlink(f"{database}-wal")
            Path(f"{database}-wal").write_text("of the new store")
            drop_stale_log(str(database), before)
            assert "net.db-wal" in names(database)


def test_without_a_database_nothing_is_deleted(database: Path) -> None:
    before = identify(str(database))
    database.unlink()
    with pytest.raises(FileNotFoundError):
        drop_stale_log(str(database), before)
    assert names(database) == ["net.db-shm", "net.db-wal"]


def test_one_at_a_time_works_on_a_directory_and_a_failure_frees_it(database: Path) -> None:
    directory = os.open(database.parent, os.O_RDONLY | os.O_DIRECTORY)

    def take() -> None:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def fail_within() -> None:
        with directory_lock(str(database)):
            take()

    try:
        with pytest.raises(BlockingIOError):
            fail_within()
        take()
    finally:
        os.close(directory)
