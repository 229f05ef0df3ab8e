"""Fixtures for all tests: namespaces, a private cache, the check that nothing is left behind."""

import asyncio
import gc
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from flannel_sdk.testing import namespaces
from flannel_sdk.testing.namespaces import Namespace
from tests.leftovers import Possessions

# A loaded machine takes its time, and the same tree tests the same: --hypothesis-profile=search
# looks for what is new.
settings.register_profile(
    "search", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("same", settings.get_profile("search"), derandomize=True)
settings.register_profile("quick", settings.get_profile("same"), max_examples=20)
settings.load_profile("same")

_GRACE = 10.0
"""Seconds that what ends by itself has to do so after its test."""


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


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[Possessions | None]:
    """Fail a test that leaves a descriptor, child, thread or namespace behind.

    Set up first and torn down last, after the event loop. ``@pytest.mark.filterwarnings`` does not
    touch it. Modules whose tests share a lab put one in its place that gives None.
    """
    before = Possessions.now()
    yield before
    deadline = time.monotonic() + _GRACE
    while (left := before.left()) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    if left:
        pytest.fail(f"{request.node.nodeid} left behind: {'; '.join(left)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each coroutine test the check that runs in its event loop, within the other one.

    What goes on after a close (TLS says goodbye, gRPC ends its calls) needs the loop to run, which
    it does not while the outer check waits.
    """
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            names = item.fixturenames
            if "_no_task_left" not in names:
                names.insert(names.index("nothing_left_behind") + 1, "_no_task_left")


@pytest_asyncio.fixture
async def _no_task_left(nothing_left_behind: Possessions | None) -> AsyncIterator[None]:
    """Fail a test that leaves a task behind, or something that the running loop does not end."""
    before = Possessions.now() if nothing_left_behind else None  # the loop has descriptors too
    tasks = asyncio.all_tasks()
    yield
    known: set[object] = {*tasks, asyncio.current_task()}
    deadline = time.monotonic() + _GRACE

    def left() -> list[str]:
        found = [*map(_named, asyncio.all_tasks() - known)]
        return found + before.left() if before else found

    while left() and time.monotonic() < deadline:
        gc.collect()
        await asyncio.sleep(0.01)
    if found := left():
        pytest.fail(f"left behind while the loop runs: {'; '.join(found)}")


def _named(task: asyncio.Task[Any]) -> str:
    return f"task {task.get_name()}: {task.get_coro()!r}"
