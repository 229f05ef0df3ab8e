"""Child processes: what they are given, how they end, and that none is left behind."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.testing.waiting import eventually
from flannel_sdk.toolkit import child_process
from tests.stopwatch import Stopwatch


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


async def pid_in(file: Path) -> int:
    await eventually(lambda: file.exists() and file.read_text().endswith("\n"), "a pid is written")
    return int(file.read_text())


async def test_talks_to_it_and_gets_its_exit_code() -> None:
    script = "read line; echo got $line; echo aside >&2; exit 3"
    async with child_process(sh(script), netns=None) as child:
        await child.write(b"hello\n")
        assert await child.stdout.read() == b"got hello\n"
        assert await child.stderr.read() == b"aside\n"
        assert await child.wait() == 3
    assert not is_running(child.pid)


async def test_its_errors_can_go_with_its_output() -> None:
    script = "echo one; echo two >&2"
    async with child_process(sh(script), netns=None, merge_stderr=True) as child:
        assert await child.stdout.read() == b"one\ntwo\n"
        assert await child.stderr.read() == b""


async def test_a_signal_that_ended_it_is_a_negative_code() -> None:
    async with child_process(sh("kill -9 $$"), netns=None) as child:
        assert await child.wait() == -signal.SIGKILL


async def test_flanneld_variables_are_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLANNELD_ETCD_PASSWORD", "hunter2")
    monkeypatch.setenv("SUBNET", "stale")
    variables = {"SUBNET": None, "PUBLIC_IP": "192.0.2.1"}
    async with child_process(["env"], netns=None, variables=variables) as child:
        environment = (await child.stdout.read()).decode().splitlines()
    assert "PUBLIC_IP=192.0.2.1" in environment
    assert f"PATH={os.environ['PATH']}" in environment
    assert [line for line in environment if line.startswith(("FLANNELD_", "SUBNET"))] == []


async def test_more_than_a_pipe_holds_goes_both_ways() -> None:
    data = b"x" * 2_000_000
    async with child_process(["cat"], netns=None) as child:
        reading = asyncio.create_task(child.stdout.read())
        await child.write(data)
        child.close_stdin()
        assert await reading == data
        assert await child.wait() == 0


async def test_what_a_child_does_not_read_harms_nobody() -> None:
    async with child_process(["true"], netns=None) as child:
        assert await child.wait() == 0
        for _ in range(10):
            await child.write(b"x" * 100_000)


async def test_leaving_the_block_ends_the_group_with_sigterm(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = f"trap 'echo ended > {told}; exit' TERM; echo up; while :; do sleep 0.01; done"
    async with child_process(sh(script), netns=None) as child:
        assert await child.stdout.readline() == b"up\n"
    assert not is_running(child.pid)
    assert told.read_text() == "ended\n"


@pytest.mark.parametrize("trapped", ["", "TERM"], ids=["willing", "stubborn"])
async def test_a_cancel_leaves_no_process(tmp_path: Path, trapped: str) -> None:
    ignore = f"trap '' {trapped}; " if trapped else ""
    grandchild = tmp_path / "pid"
    script = f"{ignore}sleep 100 & echo $! > {grandchild}; wait"

    async def run() -> None:
        async with child_process(sh(script), netns=None) as child:
            await child.wait()

    running = asyncio.create_task(run())
    pid = await pid_in(grandchild)
    stopwatch = Stopwatch()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert stopwatch.seconds < 1.0
    await eventually(lambda: not is_running(pid), "the group has ended")


async def test_a_second_cancel_ends_it_at_once() -> None:
    stubborn = sh("trap '' TERM; echo up; while :; do sleep 0.01; done")
    pids = []

    async def run() -> None:
        async with child_process(stubborn, netns=None) as child:
            pids.append(child.pid)
            await child.stdout.readline()
            running.set()
            await child.wait()

    running = asyncio.Event()
    task = asyncio.create_task(run())
    await running.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not is_running(pids[0])


async def test_a_cancel_at_any_moment_of_its_start_leaves_nothing() -> None:
    for steps in range(40):
        task = asyncio.create_task(_run_for_ever())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def _run_for_ever() -> None:
    async with child_process(["sleep", "100"], netns=None) as child:
        await child.wait()


async def test_what_a_child_left_in_the_background_is_spared_where_asked(tmp_path: Path) -> None:
    for spare in (True, False):
        file = tmp_path / str(spare)
        script = f"sleep 100 >/dev/null 2>&1 & echo $! > {file}"
        async with child_process(sh(script), netns=None, spare_background=spare) as child:
            assert await child.wait() == 0
        pid = await pid_in(file)
        if spare:
            assert is_running(pid)
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda pid=pid: not is_running(pid), "it has ended")  # type: ignore[misc]  # mypy cannot infer a default


async def test_a_program_that_is_not_there_is_an_oserror() -> None:
    with pytest.raises(FileNotFoundError):
        async with child_process(["/nowhere/program"], netns=None):
            pass


@pytest.mark.root
async def test_it_runs_in_the_namespace(netns: Namespace) -> None:
    code = "import os; print(os.stat('/proc/self/ns/net').st_ino)"
    async with child_process([sys.executable, "-c", code], netns=netns.path) as child:
        assert int(await child.stdout.read()) == os.stat(netns.path).st_ino
