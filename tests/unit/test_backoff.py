"""Back-off and complaints: delays that grow, and a log that is not flooded."""

import asyncio
import logging

import pytest

from flannel_sdk.backoff import Backoff, Complaint, Trouble
from flannel_sdk.errors import StoreUnavailable

DOWN = StoreUnavailable("the store is down.")


def test_no_delay_is_called_that(caplog: pytest.LogCaptureFixture) -> None:
    Complaint(logging.getLogger("test"), "watching").failed(DOWN, 0.0)
    assert caplog.messages == ["watching: the store is down; trying again at once"]


def test_delays_double_to_the_limit_and_start_again_after_a_success() -> None:
    delays = Backoff(first=1.0, limit=4.0)
    for longest in (1.0, 2.0, 4.0, 4.0):
        assert longest / 2 <= delays.next_delay() <= longest
    delays.reset()
    assert delays.next_delay() <= 1.0


def test_what_fails_and_heals_all_the_time_is_said_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("flannel_sdk.backoff.time.monotonic", lambda: now)
    caplog.set_level(logging.INFO)
    complaint = Complaint(logging.getLogger("test"), "watching")
    for _ in range(120):
        complaint.failed(DOWN, 0.2)
        complaint.healed()
        now += 1.0
    assert [record.getMessage() for record in caplog.records] == [
        "watching: the store is down; trying again in 0.2 s",
        "watching: works again",
    ] * 2


def test_what_was_not_said_is_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("flannel_sdk.backoff.time.monotonic", lambda: now)
    caplog.set_level(logging.INFO)
    complaint = Complaint(logging.getLogger("test"), "watching")
    for _ in range(90):
        complaint.failed(DOWN, 0.2)
        now += 1.0
    complaint.healed()
    assert [vars(record).get("repeated") for record in caplog.records] == [None, 59, 29]


def test_another_failure_is_said_at_once_and_a_defect_with_its_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaint = Complaint(logging.getLogger("test"), "watching")
    complaint.failed(DOWN, 0.2)
    complaint.failed(DOWN, 0.4)
    complaint.failed(KeyError("x"), 0.4)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "watching: the store is down; trying again in 0.2 s",
        "watching: KeyError: 'x'; trying again in 0.4 s",
    ]
    assert [record.exc_info is not None for record in caplog.records] == [False, True]


def test_servers_that_fail_in_turn_are_each_named_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaint = Complaint(logging.getLogger("test"), "watching")
    for _ in range(10):
        complaint.failed(StoreUnavailable("a is down"), 0.2)
        complaint.failed(StoreUnavailable("b is down"), 0.2)
    assert len(caplog.records) == 2


async def test_a_wait_ends_early_where_it_has_become_pointless() -> None:
    closed = asyncio.Event()
    trouble = Trouble(logging.getLogger("test"), "watching", Backoff(first=60.0, limit=60.0))
    waiting = asyncio.create_task(trouble.wait_out(DOWN, closed))
    await asyncio.sleep(0)
    assert not waiting.done()
    closed.set()
    async with asyncio.timeout(5):
        await waiting
