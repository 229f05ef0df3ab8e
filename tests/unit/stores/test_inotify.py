"""Files watched through inotify: which event of which file, how often, and for how long."""

import asyncio
import os
from contextlib import closing
from pathlib import Path

import pytest

from flannel_sdk.stores.inotify import GONE, MODIFIED, TOUCHED, FileWatch

Seen = list[tuple[str, int]]


@pytest.fixture
def paths(tmp_path: Path) -> tuple[str, str]:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"")
    return str(tmp_path / "a"), str(tmp_path / "b")


async def until(seen: Seen, count: int) -> Seen:
    async with asyncio.timeout(2):
        while len(seen) < count:  # noqa: ASYNC110  # the watch calls back, and wakes nobody
            await asyncio.sleep(0)
    return seen


async def test_each_file_has_its_own_events_and_a_burst_is_one(paths: tuple[str, str]) -> None:
    first, second = paths
    seen: Seen = []
    with closing(FileWatch(lambda path, mask: seen.append((path, mask)))) as watch:
        watch.add(first, TOUCHED)
        watch.add(second, MODIFIED)
        for _ in range(10):
            os.utime(first)
            os.utime(second)  # not asked for
            Path(first).write_bytes(b"x")  # not asked for
            Path(second).write_bytes(b"x")
        assert await until(seen, 2) == [(first, TOUCHED), (second, MODIFIED)]


async def test_a_file_that_goes_says_so(paths: tuple[str, str]) -> None:
    first, second = paths
    seen: Seen = []
    with closing(FileWatch(lambda path, mask: seen.append((path, mask)))) as watch:
        watch.add(first, GONE)
        watch.add(second, GONE)
        os.unlink(first)
        os.rename(second, f"{second}-elsewhere")
        found = dict(await until(seen, 2))
    assert found[first] & GONE
    assert found[second] & GONE


async def test_a_missing_file_is_an_error_and_what_is_watched_stays_so(
    paths: tuple[str, str],
) -> None:
    seen: Seen = []
    with closing(FileWatch(lambda path, mask: seen.append((path, mask)))) as watch:
        watch.add(paths[0], MODIFIED)
        with pytest.raises(FileNotFoundError):
            watch.add(f"{paths[0]}-missing", MODIFIED)
        Path(paths[0]).write_bytes(b"x")
        assert await until(seen, 1)


async def test_closed_is_silent_for_good_and_twice_is_fine(paths: tuple[str, str]) -> None:
    """A second close of the same number would close somebody else's file."""
    seen: Seen = []
    watch = FileWatch(lambda path, mask: seen.append((path, mask)))
    watch.add(paths[0], MODIFIED)
    Path(paths[0]).write_bytes(b"x")
    watch.close()
    with open(paths[1], "rb") as reuses_the_number:
        watch.close()
        assert reuses_the_number.read() == b""
    await asyncio.sleep(0)
    assert seen == []
