"""Many processes on one store file: no subnet twice, no failure, nothing lost by kill -9."""

import asyncio
import itertools
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, aclosing, closing, contextmanager
from pathlib import Path

import pytest

from flannel_sdk.model import LeaseSnapshot, decode_entries, format_subnet_key, parse_subnet_key
from flannel_sdk.stores.sqlite import SqliteOptions, plugin
from tests.stopwatch import Stopwatch
from tests.stores.nodes import IPV4, address4, node

ROOT = Path(__file__).parents[2]


@contextmanager
def worker(path: Path, how: str, first: int) -> Generator[subprocess.Popen[str], None, None]:
    """A worker that waits for its start."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.stores.worker", str(path), how, str(first)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def start(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def configure(path: Path, document: str) -> None:
    async def put() -> None:
        store = plugin.open(SqliteOptions(str(path)))
        await store.put_network_config(document)
        await store.aclose()

    asyncio.run(put())


def entries(path: Path) -> dict[str, bytes]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return dict(connection.execute("SELECT key, value FROM leases"))


def assert_no_overlap(keys: list[str]) -> None:
    ranges = sorted(
        (prefix.first, prefix.last) for key in keys if (prefix := parse_subnet_key(key).ipv4)
    )
    assert len(ranges) == len(keys)
    assert all(one[1] < two[0] for one, two in itertools.pairwise(ranges))


@pytest.mark.slow
def test_fifty_processes_acquire_at_once(tmp_path: Path) -> None:
    path = tmp_path / "net.db"
    configure(path, '{"Network":"10.3.0.0/24","SubnetLen":30,"SubnetMax":"10.3.0.200"}')
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(path, "once", number)) for number in range(50)]
        assert [line(process) for process in workers] == ["ready"] * 50
        stopwatch = Stopwatch()
        for process in workers:
            start(process)
        keys = [line(process) for process in workers]
        took = stopwatch.seconds
        print(f"50 processes acquired in {took:.3f} s")
        assert [process.wait(20) for process in workers] == [0] * 50
    assert_no_overlap(keys)
    found = entries(path)
    assert set(found) == set(keys)
    leases, malformed = decode_entries((*item, None, 0) for item in found.items())
    assert not malformed
    assert {lease.attrs.public_ips.ipv4 for lease in leases} == {address4(n) for n in range(50)}
    assert took < 15


@pytest.mark.slow
def test_processes_that_make_the_file_together_make_one(tmp_path: Path) -> None:
    path = tmp_path / "net.db"
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(path, "once", number)) for number in range(8)]
        assert [line(process) for process in workers] == ["ready"] * 8
        configure(path, IPV4)
        for process in workers:
            start(process)
        keys = [line(process) for process in workers]
    assert set(entries(path)) == set(keys)
    assert_no_overlap(keys)


@pytest.mark.slow
def test_kill_9_loses_no_lease_and_gives_no_subnet_twice(tmp_path: Path) -> None:
    path = tmp_path / "net.db"
    configure(path, '{"Network":"10.0.0.0/8"}')
    rng = random.Random(7)
    printed: list[str] = []
    for turn in range(8):
        with ExitStack() as stack:
            pair = [stack.enter_context(worker(path, "forever", n)) for n in (1 << 14, 1 << 15)]
            for process in pair:
                assert line(process) == "ready"
                start(process)
            for _ in range(rng.randrange(1, 40)):
                printed += [line(process) for process in pair]
            for process in pair:
                process.kill()
                assert process.stdout is not None
                printed += [key for key in process.stdout.read().split("\n")[:-1] if key]
        found = entries(path)
        assert set(printed) <= set(found), turn
        assert_no_overlap(list(found))
        leases, malformed = decode_entries((*item, None, 0) for item in found.items())
        assert not malformed
        owners = [lease.attrs.public_ips for lease in leases]
        assert len(set(owners)) == len(owners)


async def test_a_process_sees_what_another_writes(tmp_path: Path) -> None:
    path = tmp_path / "net.db"
    store = plugin.open(SqliteOptions(str(path)))
    await store.put_network_config(IPV4)
    with worker(path, "once", 5) as process:
        assert line(process) == "ready"
        async with aclosing(store.watch_leases()) as items, asyncio.timeout(20):
            assert isinstance(await anext(items), LeaseSnapshot)
            start(process)
            changed = await anext(items)
            assert not isinstance(changed, LeaseSnapshot)
            assert [lease.attrs for lease in changed.changed] == [node(5)]
            key = line(process)
            assert [format_subnet_key(lease.subnets) for lease in changed.changed] == [key]
    await store.aclose()
