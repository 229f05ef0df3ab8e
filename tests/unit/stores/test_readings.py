"""Reading again at changes and expiries, healed with back-off, ended at once when closed."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import TypeVar
from uuid import uuid4

import pytest

from flannel_sdk.errors import StoreCorrupt, StoreUnavailable
from flannel_sdk.stores.memory import MemoryNetwork, MemoryStorage
from flannel_sdk.stores.readings import Readings
from flannel_sdk.stores.table import Reader, Wakeups
from flannel_sdk.testing import virtual_time

T = TypeVar("T")
KEY = "10.5.1.0-24"


class FailingStorage(MemoryStorage):
    """A store that fails as often as it is told to."""

    def __init__(self) -> None:
        super().__init__(MemoryNetwork())
        self.failures: list[Exception] = []
        self.asked_at: list[float] = []
        self.subscribed = 0

    async def read(self, work: Callable[[Reader], T]) -> T:
        self.asked_at.append(asyncio.get_running_loop().time())
        if self.failures:
            raise self.failures.pop(0)
        return await super().read(work)

    async def subscribe(self) -> Wakeups:
        self.subscribed += 1
        return await super().subscribe()

    @property
    def watches(self) -> int:
        return len(self._watches)


def keys(table: Reader) -> list[str]:
    return [key for key, *_ in table.rows()]


def readings(storage: MemoryStorage, closed: asyncio.Event | None = None) -> Readings[list[str]]:
    return Readings(storage, closed or asyncio.Event(), keys, "store")


async def put(storage: MemoryStorage, key: str, expires_at: float | None = None) -> None:
    await storage.write(lambda table: table.put(key, b"{}", expires_at))


@pytest.fixture
async def storage() -> AsyncIterator[FailingStorage]:
    made = FailingStorage()
    yield made
    await made.aclose()


async def following(found: AsyncIterator[T]) -> T:
    async with asyncio.timeout(2):
        return await anext(found)


async def test_reads_at_once_and_then_after_each_change(storage: FailingStorage) -> None:
    found = readings(storage)
    assert await following(found) == []
    waiting = asyncio.ensure_future(anext(found))
    await asyncio.sleep(0)
    assert not waiting.done()
    await put(storage, KEY)
    async with asyncio.timeout(2):
        assert await waiting == [KEY]
    found.close()


async def test_a_change_between_two_readings_is_not_lost(storage: FailingStorage) -> None:
    found = readings(storage)
    await following(found)
    await put(storage, KEY)
    assert await following(found) == [KEY]
    found.close()


async def test_an_expiry_is_carried_out_when_its_time_comes(storage: FailingStorage) -> None:
    await put(storage, KEY, time.time() + 0.05)
    found = readings(storage)
    assert await following(found) == [KEY]
    assert await following(found) == []
    assert await storage.read(keys) == []
    found.close()


async def test_a_far_expiry_does_not_hide_a_change(storage: FailingStorage) -> None:
    await put(storage, KEY, time.time() + 1e6)
    found = readings(storage)
    await following(found)
    await put(storage, "10.5.2.0-24")
    assert await following(found) == [KEY, "10.5.2.0-24"]
    found.close()


def test_an_unavailable_store_is_asked_again_ever_more_rarely_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = FailingStorage()
    storage.failures = [StoreUnavailable("gone") for _ in range(9)]

    async def first_reading() -> None:
        found = readings(storage)
        assert await anext(found) == []
        assert storage.watches == 1
        found.close()

    with caplog.at_level(logging.WARNING):
        virtual_time.run(first_reading())
    asked = storage.asked_at
    waits = [later - earlier for earlier, later in pairwise(asked)]
    for wait, longest in zip(waits, (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5), strict=True):
        assert longest / 2 <= wait <= longest * 1.001
    assert storage.subscribed == 10
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("watching store: gone; trying again in 0.")


def test_success_makes_the_next_failure_a_first_one() -> None:
    storage = FailingStorage()

    async def two_interruptions() -> None:
        found = readings(storage)
        for _ in range(2):
            storage.failures = [StoreUnavailable("gone")] * 3
            await put(storage, uuid4().hex)
            await anext(found)
        found.close()

    virtual_time.run(two_interruptions())
    assert 2 * 0.35 <= time_spent(storage) <= 2 * 0.7


def time_spent(storage: FailingStorage) -> float:
    return storage.asked_at[-1] - storage.asked_at[0]


async def test_a_corrupt_store_ends_it(storage: FailingStorage) -> None:
    storage.failures = [StoreCorrupt("torn")]
    found = readings(storage)
    with pytest.raises(StoreCorrupt):
        await following(found)
    found.close()


async def test_closed_ends_a_wait_and_a_back_off(storage: FailingStorage) -> None:
    for failures in ([], [StoreUnavailable("gone")] * 50):
        closed = asyncio.Event()
        found = readings(storage, closed)
        if not failures:
            await following(found)
        storage.failures = list(failures)
        waiting = asyncio.ensure_future(anext(found))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not waiting.done()
        closed.set()
        await put(storage, uuid4().hex)
        async with asyncio.timeout(0.05 if failures else 2):  # less than the back-off
            with pytest.raises(StopAsyncIteration):
                await waiting
        found.close()
        assert storage.watches == 0


async def test_closing_twice_frees_the_watch_once(storage: FailingStorage) -> None:
    found = readings(storage)
    await following(found)
    assert storage.watches == 1
    found.close()
    found.close()
    assert storage.watches == 0
