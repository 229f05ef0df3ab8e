"""When the watches of a store file look again, without a file: the kernel's events are played."""

import asyncio
from collections.abc import Callable

import pytest

from flannel_sdk.stores import sqlite_signal
from flannel_sdk.stores.inotify import MODIFIED, TOUCHED
from flannel_sdk.stores.sqlite_signal import ChangeSignal
from flannel_sdk.testing import virtual_time

PATH, LOG = "/x/net.db", "/x/net.db-wal"


class PlayedEvents:
    """Stands for FileWatch; keeps the function that events are told to."""

    tell: Callable[[str, int], None]

    def __init__(self, changed: Callable[[str, int], None]) -> None:
        type(self).tell = staticmethod(changed)

    def add(self, path: str, mask: int) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_signal, "FileWatch", PlayedEvents)


def looks(play: Callable[[asyncio.AbstractEventLoop], None], seconds: float = 100.0) -> list[float]:
    """When a watch was woken, in seconds from the start, while ``play`` tells events."""
    times: list[float] = []

    async def follow() -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        signal = ChangeSignal(PATH)
        watch = signal.subscribe(1)
        play(loop)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await watch.wait(None)
                    times.append(round(loop.time() - begin, 3))
        except TimeoutError:
            pass
        watch.close()

    virtual_time.run(follow())
    return times


def test_a_write_into_the_log_leads_to_a_few_looks_and_then_to_none() -> None:
    """A commit that nobody touches the file for is seen late, if its sync takes long."""
    assert looks(lambda loop: PlayedEvents.tell(LOG, MODIFIED)) == [0.25, 1.25, 6.25, 26.25]


def test_a_touch_is_looked_at_at_once_and_ends_the_waiting() -> None:
    def play(loop: asyncio.AbstractEventLoop) -> None:
        PlayedEvents.tell(LOG, MODIFIED)
        loop.call_later(0.1, PlayedEvents.tell, PATH, TOUCHED)

    assert looks(play) == [0.1]


def test_writes_that_go_on_do_not_put_the_look_off() -> None:
    def play(loop: asyncio.AbstractEventLoop) -> None:
        for step in range(10):
            loop.call_later(step * 0.1, PlayedEvents.tell, LOG, MODIFIED)

    assert looks(play, 1.0) == [0.25, 0.55, 0.85]


def test_a_later_write_is_looked_at_as_soon_as_the_first() -> None:
    def play(loop: asyncio.AbstractEventLoop) -> None:
        PlayedEvents.tell(LOG, MODIFIED)
        loop.call_later(2.0, PlayedEvents.tell, LOG, MODIFIED)

    assert looks(play, 5.0) == [0.25, 1.25, 2.25, 3.25]
