"""The store meter: durations, failures, and when the store was heard last."""

import asyncio
import time
from typing import cast

import pytest

from flannel_sdk.engine.store_meter import StoreMeter
from flannel_sdk.errors import ConfigMissing, StoreUnavailable
from flannel_sdk.interfaces import SubnetManager


class Store:
    """As much of a store as the meter uses."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.asked = asyncio.Event()

    async def get_network_config(self) -> None:
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if not self.outcomes:
            self.asked.set()
        if outcome is not None:
            raise outcome


class Hearing(Store):
    """It knows itself when it was heard."""

    heard: float | None = None

    def last_heard(self) -> float | None:
        return self.heard


def meter(store: Store) -> StoreMeter:
    return StoreMeter(cast("SubnetManager", store))


async def test_a_call_is_counted_and_proves_that_the_store_is_there() -> None:
    made = meter(store := Store())
    assert made.heard_at is None
    assert made.status()["heard_seconds_ago"] is None
    await made.measured("read", store.get_network_config())
    status = made.status()
    assert isinstance(status["calls"], dict)
    assert sum(status["calls"]["read"]["counts"]) == 1
    assert status["failures"] == {}
    assert made.heard_at is not None


async def test_a_failure_is_counted_and_proves_nothing() -> None:
    made = meter(store := Store(StoreUnavailable("away")))
    with pytest.raises(StoreUnavailable):
        await made.measured("read", store.get_network_config())
    assert made.status()["failures"] == {"read": 1}
    assert made.heard_at is None


async def test_a_refusal_proves_that_the_store_is_there() -> None:
    made = meter(store := Store(ConfigMissing("there is none")))
    with pytest.raises(ConfigMissing):
        await made.measured("read", store.get_network_config())
    assert made.heard_at is not None


async def test_what_the_store_knows_itself_counts_if_it_is_newer() -> None:
    made = meter(store := Hearing())
    store.heard = time.monotonic() - 50.0
    assert made.heard_at == store.heard
    made.heard()
    assert made.heard_at != store.heard


async def test_a_store_that_cannot_tell_is_asked_now_and_then() -> None:
    made = meter(store := Store(StoreUnavailable("away"), None))
    asking = asyncio.create_task(made.keep_hearing(0.001))
    async with asyncio.timeout(10):
        await store.asked.wait()
    asking.cancel()
    await asyncio.wait([asking])
    assert made.status()["failures"] == {"get_network_config": 1}


async def test_a_store_that_can_tell_is_not_asked() -> None:
    made = meter(store := Hearing(None))
    async with asyncio.timeout(10):
        await made.keep_hearing(0.001)
    assert not store.asked.is_set()
