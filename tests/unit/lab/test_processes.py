"""Processes by identity: ended on time, and never the wrong one."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from flannel_sdk.lab.processes import ProcessId, processes_marked, terminate

PATIENT = "import signal; print(flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {PATIENT}"


def start(code: str, **environment: str) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


@pytest.fixture
def patient() -> Iterator["subprocess.Popen[bytes]"]:
    with start(PATIENT) as child:
        yield child
        child.kill()


def identity(child: "subprocess.Popen[bytes]") -> ProcessId:
    process = ProcessId.of(child.pid)
    assert process is not None
    return process


async def test_an_obedient_process_is_not_killed(patient: "subprocess.Popen[bytes]") -> None:
    assert await terminate([identity(patient)]) == []
    assert patient.wait() == -signal.SIGTERM


async def test_a_stubborn_one_is() -> None:
    with start(STUBBORN) as child:
        process = identity(child)
        assert await terminate([process], patience=0.05) == [process]
        assert child.wait() == -signal.SIGKILL


async def test_a_zombie_has_ended(patient: "subprocess.Popen[bytes]") -> None:
    process = identity(patient)
    patient.kill()
    async with asyncio.timeout(5):
        await process.wait()
    assert not process.alive
    assert not process.kill(signal.SIGTERM)


def test_another_process_with_the_same_pid_is_left_alone(
    patient: "subprocess.Popen[bytes]",
) -> None:
    earlier = ProcessId(patient.pid, identity(patient).start - 1)
    assert not earlier.alive
    assert not earlier.kill(signal.SIGKILL)
    assert patient.poll() is None


def test_marked_processes_are_found_among_all() -> None:
    with start(PATIENT, LAB_TEST_MARK="a b@1") as child:
        try:
            assert processes_marked("LAB_TEST_MARK", "a b@1") == [identity(child)]
            assert processes_marked("LAB_TEST_MARK", "a b") == []
        finally:
            child.kill()
