"""Fixtures for all tests: namespaces, a private cache, the check that nothing is left behind."""

import asyncio
import gc
import inspect
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from flannel_sdk.testing import namespaces
from flannel_sdk.testing.namespaces import Namespace

_GRPC_POLLER = "(_poll_wrapper)"
_GRACE = 10.0
"""Seconds that a thread or a child has to end after its test."""


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """stevedore's cache of entry points may be stale for two minutes: give it an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def _namespaces_work() -> str | None:
    namespaces.remove_orphans()
    return namespaces.missing_right()


@pytest.fixture
def netns(_namespaces_work: str | None) -> Iterator[Namespace]:
    """A fresh network namespace; the test is skipped, with the reason, where none can be made."""
    if _namespaces_work is not None:
        pytest.skip(_namespaces_work)
    with namespaces.namespace() as made:
        yield made


@pytest.fixture
def make_netns(_namespaces_work: str | None) -> Iterator[Callable[[str], Namespace]]:
    """Makes as many namespaces as the test asks for, each with a label."""
    if _namespaces_work is not None:
        pytest.skip(_namespaces_work)
    made: list[Namespace] = []

    def make(label: str) -> Namespace:
        made.append(namespaces.create(label))
        return made[-1]

    yield make
    for namespace in made:
        namespaces.delete(namespace)


def _descriptors() -> dict[str, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:
            continue
        if not target.startswith(("/dev/", "/proc/", "anon_inode:", "/etc/ld.so")):
            found[entry.name] = target
    return found


def _children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found.update((task / "children").read_text().split())
        except FileNotFoundError:
            continue
    return found


def _threads() -> set[threading.Thread]:
    # The default executor's threads belong to the event loop, which ends after the test; gRPC's
    # poller and its sockets to the process: they may outlive the last call for long.
    return {
        thread
        for thread in threading.enumerate()
        if not thread.name.startswith(("asyncio_", "ThreadPool"))
        and not thread.name.endswith(_GRPC_POLLER)
    }


def _is_grpcs(descriptor: str) -> bool:
    """Whether it may be a socket of gRPC, which may keep one for long after its channel's end."""
    if not any(thread.name.endswith(_GRPC_POLLER) for thread in threading.enumerate()):
        return False
    try:
        return stat.S_ISSOCK(os.fstat(int(descriptor)).st_mode)
    except OSError:
        return False


def _leftovers(before: tuple[dict[str, str], set[str], set[threading.Thread], set[str]]) -> str:
    descriptors, children, threads, spaces = before
    left = [
        f"descriptor {number} -> {target}"
        for number, target in _descriptors().items()
        if descriptors.get(number) != target and not _is_grpcs(number)
    ]
    left += [f"child process {pid}" for pid in _children() - children]
    left += [f"thread {thread.name}" for thread in _threads() - threads]
    left += [f"namespace {name}" for name in namespaces.own_namespaces() - spaces]
    return "; ".join(left)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a descriptor, child, thread or namespace behind.

    Set up first and torn down last. ``@pytest.mark.filterwarnings`` does not touch it; there is
    no way to opt out.
    """
    before = (_descriptors(), _children(), _threads(), namespaces.own_namespaces())
    yield
    deadline = time.monotonic() + _GRACE
    while (left := _leftovers(before)) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    if left:
        pytest.fail(f"{request.node.nodeid} left behind: {left}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each coroutine test the check that needs an event loop, ahead of its own fixtures."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.fixturenames.insert(0, "_no_task_left")


@pytest_asyncio.fixture
async def _no_task_left() -> AsyncIterator[None]:
    """Fail a test that leaves a task behind.

    gRPC hears from a thread of its own that a cancelled call has ended, and needs the loop to do
    so: what still ends by itself may, before the loop does.
    """
    before, threads = asyncio.all_tasks(), _threads()
    yield
    known = before | {asyncio.current_task()}
    deadline = time.monotonic() + _GRACE
    while (left := asyncio.all_tasks() - known) or _threads() - threads:
        if time.monotonic() > deadline:
            break
        gc.collect()
        await asyncio.sleep(0.01)
    if left:
        names = [f"{task.get_name()}: {task.get_coro()!r}" for task in left]
        pytest.fail(f"tasks left behind: {names}")
