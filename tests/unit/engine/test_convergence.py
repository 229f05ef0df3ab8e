"""Convergence: from the oldest news that is not in the kernel until it is."""

import time

import pytest

from flannel_sdk.engine.convergence import Convergence


def numbers(times: Convergence) -> dict[str, object]:
    return {name: value for name, value in times.status().items() if name != "durations"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time is its last item."""
    found = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: found[-1])
    return found


def test_news_are_timed_from_the_oldest_that_is_not_held_yet(clock: list[float]) -> None:
    times = Convergence()
    times.told(90.0)
    times.told(99.0)
    clock.append(103.0)
    times.settled()
    assert numbers(times) == {
        "first": [90.0, 103.0],
        "last_seconds": 13.0,
        "longest_seconds": 13.0,
        "count": 1,
    }


def test_the_first_and_the_longest_are_kept(clock: list[float]) -> None:
    times = Convergence()
    for received, settled in ((100.0, 101.0), (110.0, 115.0), (120.0, 122.0)):
        times.told(received)
        clock.append(settled)
        times.settled()
    assert numbers(times) == {
        "first": [100.0, 101.0],
        "last_seconds": 2.0,
        "longest_seconds": 5.0,
        "count": 3,
    }


def test_news_of_an_unknown_age_are_as_old_as_their_telling(clock: list[float]) -> None:
    times = Convergence()
    times.told(0.0)
    clock.append(104.0)
    times.settled()
    assert times.status()["last_seconds"] == 4.0


def test_without_news_nothing_has_converged(clock: list[float]) -> None:
    times = Convergence()
    times.settled()
    assert times.status()["count"] == 0
    assert times.status()["first"] is None
    times.told(100.0)
    times.settled()
    times.settled()
    assert times.status()["count"] == 1
