"""``flannel-sdk lab`` as people use it: every action, the demo, crashes, and without root."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flannel_sdk.lab import LabNames
from flannel_sdk.lab.names import OWNED_VARIABLE
from flannel_sdk.lab.processes import ownership_mark, processes_marked
from flannel_sdk.lab.rootless import HOLDER_VARIABLE, UserNamespace

pytestmark = [pytest.mark.root, pytest.mark.slow]

PROGRAM = [sys.executable, "-P", "-m", "flannel_sdk.cli", "lab"]


def lab_program(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=40, check=False
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_the_demo_breaks_and_heals(command_line_lab: LabNames, backend: str) -> None:
    name = f"--name={command_line_lab.instance}"
    story = json.loads(lab_program("demo", name, "--backend", backend, "--nodes", "3", "--json"))
    assert story["ok"]
    assert story["pings"]["complete"]
    assert story["pings_after"]["complete"]
    assert story["healed_s"] < 1.0
    assert [len(node["subnets"]) for node in story["nodes"]] == [1, 1, 1]


def test_the_demo_tells_its_story_to_people(command_line_lab: LabNames) -> None:
    told = lab_program("demo", f"--name={command_line_lab.instance}", "--nodes", "2")
    assert told.count("all 2 pairs answer") == 2
    assert "flannel.1" in told
    assert "\x1b" not in told


@pytest.mark.server
def test_the_program_shows_the_store_and_its_servers_log(command_line_lab: LabNames) -> None:
    name = f"--name={command_line_lab.instance}"
    lab_program("up", name, "--nodes", "2", "--store", "etcd")
    try:
        store = json.loads(lab_program("status", name, "--json"))["store"]
        url = "http://192.168.101.254:2379"
        assert store["options"] == {"endpoints": url}
        assert store["server"] == "running"
        told = f"store etcd endpoints={url}; its server is running, pid {store['pid']}"
        assert told in lab_program("status", name)
        os.kill(store["pid"], signal.SIGKILL)
        assert "its server is dead" in lab_program("status", name)
        assert json.loads(lab_program("ping", name, "--json"))["complete"]
        lab_program("logs", name, "store")
        lab_program("logs", name, "1")
    finally:
        lab_program("down", name)


def test_each_action_on_a_lab(command_line_lab: LabNames) -> None:
    name = f"--name={command_line_lab.instance}"
    assert "all 2 pairs answered" in lab_program("up", name, "--nodes", "2")
    try:
        assert "lab down" in _failure("up", name)
        nodes = json.loads(lab_program("status", name, "--json"))["nodes"]
        assert [node["state"] for node in nodes] == ["running", "running"]
        assert [node["netns"] for node in nodes] == [command_line_lab.node(n) for n in (1, 2)]
        assert nodes[0]["pod"][0] in lab_program("status", name)
        assert json.loads(lab_program("ping", name, "--json"))["complete"]
        assert "1450 bytes" in lab_program("ping", name, "--full-mtu")
        assert "--size is -5" in _failure("ping", name, "--size=-5")
        assert "--timeout is nan" in _failure("ping", name, "--timeout", "nan")
        assert "192.168.101.1/24" in lab_program("exec", name, "1", "--", "ip", "address")
        assert nodes[1]["pod"][0] in lab_program("exec", name, "2-pod", "--", "ip", "address")
        assert "no node 9" in _failure("exec", name, "9", "--", "true")
        assert lab_program("logs", name, "1") != ""
        os.kill(nodes[1]["pid"], signal.SIGKILL)
    finally:
        lab_program("down", name)
    assert lab_program("down", name) == "no lab was up\n"
    assert "no lab is up" in _failure("status", name)


@pytest.mark.parametrize("said", ["wiring", "starting", "pinging"])
async def test_down_after_up_was_killed_leaves_nothing(
    command_line_lab: LabNames, said: str
) -> None:
    name = f"--name={command_line_lab.instance}"
    child = await asyncio.create_subprocess_exec(
        *PROGRAM, "up", name, stdout=subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert child.stderr is not None
    async for line in child.stderr:
        if line.decode().startswith(said):
            break
    child.kill()
    await child.communicate()
    await asyncio.to_thread(lab_program, "down", name)
    mark = ownership_mark(command_line_lab.directory())
    assert processes_marked(OWNED_VARIABLE, mark) == []


@pytest.mark.parametrize("action", ["up", "demo"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_demo_or_up_removes_its_lab(
    command_line_lab: LabNames, how: signal.Signals, action: str
) -> None:
    child = await asyncio.create_subprocess_exec(
        *(*PROGRAM, action, f"--name={command_line_lab.instance}"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stderr is not None
    async for line in child.stderr:
        if line.decode().startswith("starting"):
            break
    child.send_signal(how)
    async with asyncio.timeout(20):
        await child.communicate()
    assert child.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[how]


PRISTINE = """
mount -n -t tmpfs tmpfs /run &&
"$@" up --nodes 2 >/run/told &&
ip netns exec flannel-lab-1 sh -c 'sleep 60 &' &&
"$@" down && rm /run/told &&
ls -A /run && ip -brief link
"""


def test_a_machine_is_left_as_it_was(lab_rights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an empty /run of its own: no file, mount, link or process stays, not even a stranger's."""
    monkeypatch.delenv("FLANNEL_LAB_DIR", raising=False)
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", PRISTINE, "sh", *PROGRAM],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    removed, *rest = done.stdout.splitlines()
    assert removed.startswith("removed the lab: 3 processes")
    assert [line.split()[0] for line in rest] == _links_of_a_new_namespace()


def _links_of_a_new_namespace() -> list[str]:
    shown = subprocess.run(
        ["unshare", "--net", "ip", "-brief", "link"], capture_output=True, text=True, check=True
    )
    return [line.split()[0] for line in shown.stdout.splitlines()]


UNPRIVILEGED = ["setpriv", "--inh-caps=-all", "--bounding-set=-all,+setfcap", "--"]
"""Keeps the uid, so that files stay readable; setfcap is what mapping uid 0 takes."""


@pytest.fixture
def rootless(lab_rights: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for a lab without root; skips where the kernel lets nobody have one."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv (util-linux) to give up root's rights")
    probe = subprocess.run(
        [*UNPRIVILEGED, "unshare", "--user", "--map-root-user", "--net", "true"],
        check=False,
        capture_output=True,
        text=True,
    )
    if probe.returncode:
        pytest.skip(f"unprivileged user namespaces are off here: {probe.stderr.strip()}")
    directory = tmp_path / "holder"
    monkeypatch.setenv("FLANNEL_LAB_DIR", str(directory))
    yield directory
    asyncio.run(UserNamespace(LabNames()).end())


def test_a_lab_without_root(rootless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = LabNames().leftovers()
    monkeypatch.setitem(globals(), "PROGRAM", [*UNPRIVILEGED, *PROGRAM])
    assert "all 2 pairs answered" in lab_program("up", "--nodes", "2")
    nodes = json.loads(lab_program("status", "--json"))["nodes"]
    assert [node["state"] for node in nodes] == ["running", "running"]
    assert json.loads(lab_program("ping", "--json"))["complete"]
    assert "flannel.1" in lab_program("exec", "1", "--", "ip", "link")
    lab_program("down")
    assert LabNames().leftovers() == before
    assert processes_marked(HOLDER_VARIABLE, ownership_mark(rootless)) == []
    assert not rootless.exists()


@pytest.mark.parametrize("store", ["sqlite", pytest.param("etcd", marks=pytest.mark.server)])
def test_a_demo_without_root(rootless: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setitem(globals(), "PROGRAM", [*UNPRIVILEGED, *PROGRAM])
    assert json.loads(lab_program("demo", "--nodes", "2", "--store", store, "--json"))["ok"]
    assert not rootless.exists()


def _failure(*arguments: str) -> str:
    done = subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=40, check=False
    )
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"
    assert done.stderr.startswith("flannel-sdk: ")
    assert done.stderr.count("\n") == 1
    return done.stderr
