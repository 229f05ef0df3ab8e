"""The forwarding thread: it outlives what one packet does to it, and ends when the device does."""

import errno
import logging
import os
import threading

import pytest
from flannel_sdk_udp.userspace.counting import no_counts
from flannel_sdk_udp.userspace.worker import Worker

PATIENCE = 10.0


class Script:
    """Work that meets one problem after another, one for each byte of its pipe."""

    def __init__(self, descriptor: int, problems: list[Exception | None]) -> None:
        self.counts = no_counts()
        self.done = threading.Semaphore(0)
        self._descriptor = descriptor
        self._problems = problems

    def work(self) -> None:
        os.read(self._descriptor, 1)
        self.done.release()
        problem = self._problems.pop(0)
        if problem is not None:
            raise problem


def test_it_outlives_defects_tells_one_and_ends_with_its_device(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reading, writing = os.pipe()
    gone = OSError(errno.EBADFD, "gone")
    script = Script(reading, [ValueError("odd"), None, KeyError("odder"), gone])
    ends: list[Exception] = []
    with caplog.at_level(logging.ERROR):
        worker = Worker("test", None, reading, script, ends.append)
        os.write(writing, b"1234")
        for _ in range(4):
            assert script.done.acquire(timeout=PATIENCE)
        worker.join()
    os.close(reading)
    os.close(writing)
    assert ends == [gone]
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_it_ends_when_it_is_told_to() -> None:
    reading, writing = os.pipe()
    ends: list[Exception] = []
    worker = Worker("test", None, reading, Script(reading, []), ends.append)
    worker.tell_to_stop()
    worker.join()
    os.close(reading)
    os.close(writing)
    assert ends == []


def test_what_keeps_it_out_of_its_namespace_is_told() -> None:
    reading, writing = os.pipe()
    ends: list[Exception] = []
    worker = Worker("test", "/nowhere", reading, Script(reading, []), ends.append)
    worker.join()
    os.close(reading)
    os.close(writing)
    assert [str(end) for end in ends] == [
        "no network namespace at /nowhere: No such file or directory"
    ]
