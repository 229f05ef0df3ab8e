"""Which etcd program labs and tests take."""

import sys
from pathlib import Path

import pytest
from flannel_sdk_etcd.server_program import find_server

from flannel_sdk.errors import ConfigError


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty virtual environment, as if Python ran in it."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    return tmp_path / "venv"


def test_the_order(prefix: Path, tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path / "path")}
    with pytest.raises(ConfigError, match="apt-get install etcd-server"):
        find_server(environ)
    fetched = program(prefix / "etcd" / "usr" / "bin" / "etcd")
    assert find_server(environ) == fetched
    on_path = program(tmp_path / "path" / "etcd")
    assert find_server(environ) == on_path
    beside = program(prefix / "bin" / "etcd")
    assert find_server(environ) == beside
    named = program(tmp_path / "named")
    assert find_server({**environ, "ETCD": str(named)}) == named


def test_a_named_program_that_is_not_there_is_not_replaced(prefix: Path) -> None:
    program(prefix / "bin" / "etcd")
    with pytest.raises(ConfigError, match="ETCD names no program: /nowhere/etcd"):
        find_server({"PATH": "", "ETCD": "/nowhere/etcd"})


def test_what_cannot_be_run_is_passed_over(prefix: Path) -> None:
    program(prefix / "bin" / "etcd").chmod(0o644)
    with pytest.raises(ConfigError, match="no etcd server here"):
        find_server({"PATH": ""})
