"""Every code block of the README works: each carries a mark that says how it is run here."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from flannel_sdk_etcd.server_program import find_server

from tests.packaging.conftest import APART

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ETCD_README = (ROOT / "plugins/etcd/README.md").read_text(encoding="utf-8")
MARKS = {"demo", "target", "daemon", "daemon background", "lab", "backend"}
MARKS |= {"etcd", "etcd background", "conformance"}


class Block(NamedTuple):
    """A fenced block, its language and its mark."""

    mark: str | None
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page."""
    fenced = r"(?:<!-- test: ([a-z ]+) -->\n)?```(\w*)\n(.*?)^```$"
    return [
        Block(mark or None, language, text)
        for mark, language, text in re.findall(fenced, page, re.DOTALL | re.MULTILINE)
    ]


BLOCKS = blocks(README)


def marked(mark: str) -> list[Block]:
    return [block for block in BLOCKS if block.mark == mark]


def demos() -> list[object]:
    """The demos, each with the marks of what it needs."""
    return [
        pytest.param(
            block,
            marks=[pytest.mark.server] if "STORE=etcd" in block.text else [],
            id=block.text.strip(),
        )
        for block in marked("demo")
    ]


def run(*command: str) -> str:
    """Run in the repository with this Python's programs first; the output of a success.

    The variables of a make that runs these tests are not for the make that they run.
    """
    ours = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    for name in ("PYTHON", "ARGS", "BACKEND", "NODES", "STORE", "DATAPATH"):
        ours.pop(name, None)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**ours, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_apart(*script: str) -> str:
    """Run in namespaces of its own for network, mounts and processes, which end with it."""
    mounts = ["mount -t proc proc /proc"]
    mounts += ["mount -t tmpfs tmpfs /var/lib", "mount -t tmpfs tmpfs /run"]
    lines = "\n".join([*mounts, "ip link set lo up", *script])
    return run(*APART, "bash", "-euo", "pipefail", "-c", lines)


def test_every_block_is_run_by_a_test() -> None:
    assert {block.mark for block in BLOCKS if block.language != "text"} == MARKS
    assert [block for block in BLOCKS if block.language == "text" and block.mark] == []


def test_the_targets_exist() -> None:
    """Not run: this test is part of ``make test``."""
    for block in marked("target"):
        for line in block.text.splitlines():
            assert "pytest" in run(*line.split(), "--dry-run")


def test_the_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_backend_is_that_of_the_example() -> None:
    example = (ROOT / "examples/backend/acme_wire.py").read_text()
    for block in marked("backend"):
        assert block.text in example
    assert f"{len(example.splitlines())} lines" in README


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("block", demos())
def test_the_demo(block: Block, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("apart" if "BACKEND=host-gw" in block.text else "vxlan")
    # The environment is the one that runs this test: not installed again.
    command = block.text.replace("make ", "make --old-file=.venv/.installed ", 1)
    assert "answer again" in run_apart(command)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("vxlan")
def test_the_lab() -> None:
    (block,) = marked("lab")
    assert "all 12 pairs answered" in run_apart(block.text)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_kit(tmp_path: Path, apart: None) -> None:
    (block,) = marked("conformance")
    report = tmp_path / "report.md"
    out = run("bash", "-euc", block.text.replace("report.md", str(report)))
    assert re.search(r"requirements held: (\d+) of \1 ", out)
    assert "| B301 |" in report.read_text()


UNDERLAY = (
    "ip link add eth0 type veth peer name wire",
    "ip addr add 192.0.2.1/24 dev eth0",
    "ip link set eth0 up",
    "ip link set wire up",
)
UNTIL_RUNNING = "until flannel-sdk status --json | grep -q running; do sleep 0.1; done"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("vxlan")
def test_the_daemon_and_the_library_on_etcd(tmp_path: Path) -> None:
    url = "http://127.0.0.1:2379"
    etcd = (
        f"{find_server(os.environ)} --data-dir {tmp_path / 'etcd'} --log-level error --logger zap"
    )
    script = [*UNDERLAY, f"{etcd} --listen-client-urls {url} --advertise-client-urls {url} &"]
    for block in BLOCKS:
        if block.mark == "etcd":
            # The server takes a moment; people have one that runs.
            script.append(f"for i in $(seq 50); do ({block.text}) && break; sleep 0.1; done")
        elif block.mark == "etcd background":
            script += [f"{block.text.strip()} &", "daemon=$!", UNTIL_RUNNING]
    script.append("cat /run/flannel/subnet.env")
    (library,) = [block for block in blocks(ETCD_README) if block.mark == "etcd"]
    file = tmp_path / "library.py"
    file.write_text(library.text)
    script += [f"python {file}", "kill $daemon; wait $daemon", "kill %1"]
    out = run_apart(*script)
    subnet = re.search(r"FLANNEL_SUBNET=(\S+)\.1/24", out)
    assert subnet is not None
    assert out.splitlines()[-1] == f"['{subnet[1]}.0/24']"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("vxlan")
def test_the_daemon_and_the_embedded_agent(tmp_path: Path) -> None:
    script = list(UNDERLAY)
    for number, block in enumerate(BLOCKS):
        if block.mark == "daemon background":
            script += [f"{block.text.strip()} &", "daemon=$!", UNTIL_RUNNING]
        elif block.mark == "daemon" and block.language == "python":
            file = tmp_path / f"block{number}.py"
            file.write_text(block.text)
            script += ["kill $daemon; wait $daemon", f"python {file}"]
        elif block.mark == "daemon":
            script.append(block.text)
    out = run_apart(*script)
    assert "FLANNEL_NETWORK=10.5.0.0/16" in out
    assert "nothing to change" in out
    subnet = re.search(r"FLANNEL_SUBNET=(\S+)\.1/24", out)
    assert subnet is not None
    assert out.splitlines()[-1] == f"{subnet[1]}.0/24 1450", "the same lease for the same node"
