"""The Makefile helps, and says in one sentence which package of the machine is missing."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = {
    "help",
    "venv",
    "demo",
    "test",
    "test-quick",
    "check",
    "bench",
    "bench-udp",
    "docs",
    "kube-apiserver",
    "clean",
}


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder that is all of PATH: a few real tools, and what a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "make", "mktemp", "rm", "tail", "cat", "touch", "env"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def put(tools: Path, name: str, script: str) -> None:
    file = tools / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def make(tools: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make on a tree without .venv."""
    return subprocess.run(
        ["make", f"--directory={ROOT}", f"VENV={tools.parent / 'venv'}", *arguments],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def need(tools: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ROOT / ".ci" / "need.sh"), "iproute2", "there is no ip command"],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help_lists_all_targets() -> None:
    out = subprocess.run(
        ["make", f"--directory={ROOT}"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert set(re.findall(r"^  make ([a-z-]+) +\S", out, re.MULTILINE)) == TARGETS
    declared = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {target for target in declared if not target.startswith("need-")} == TARGETS


def test_a_python_that_is_too_old(tools: Path) -> None:
    put(tools, "python3", "exit 1")
    done = make(tools, "venv")
    assert done.returncode == 2
    assert "make: python3 is missing or older than 3.11; install python3" in done.stderr


def test_no_python(tools: Path) -> None:
    done = make(tools, "venv", "PYTHON=python3.99")
    assert "make: python3.99 is missing or older than 3.11" in done.stderr


def test_a_python_without_ensurepip_names_the_package(tools: Path) -> None:
    put(tools, "python3", 'case "$*" in *ensurepip*) exit 1;; esac')
    put(tools, "id", "echo 1000")
    done = make(tools, "venv")
    assert done.returncode == 2
    assert "install the package python3-venv (Debian: apt-get install python3-venv)" in done.stderr


def test_a_person_without_root_is_told_what_to_install(tools: Path) -> None:
    put(tools, "id", "echo 1000")
    done = need(tools)
    assert done.returncode == 1
    assert done.stderr == (
        "make: there is no ip command: install the package iproute2"
        " (Debian: apt-get install iproute2)\n"
    )


def test_root_gets_it_installed(tools: Path) -> None:
    put(tools, "id", "echo 0")
    put(tools, "apt-get", f'echo "$*" >> {tools}/log')
    done = need(tools)
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "install -y --no-install-recommends iproute2" in (tools / "log").read_text()


def test_an_installation_that_fails_is_said(tools: Path) -> None:
    put(tools, "id", "echo 0")
    put(tools, "apt-get", "echo E: no such package >&2; exit 100")
    done = need(tools)
    assert done.returncode == 1
    assert "E: no such package" in done.stderr
    assert "apt-get could not install the package iproute2" in done.stderr
