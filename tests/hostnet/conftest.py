"""Hosts around a node, and which firewall programs this machine has."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flannel_sdk.testing.namespaces import Namespace
from tests.hostnet.hosts import Hosts, build

_SYSTEM = "/usr/sbin:/sbin:/usr/bin:/bin"
_NOT_INSTALLED = "it is not installed (make test installs it as root)"
_PROBES = {
    "nft": "nft list ruleset",
    "iptables-nft": "iptables-nft -t nat -A POSTROUTING -m comment --comment probe -j MASQUERADE",
    "iptables-legacy": "iptables-legacy -t nat -A POSTROUTING -m comment --comment probe -j RETURN",
}


@pytest.fixture(autouse=True)
def xtables_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that programs of the old iptables lock: not the one of the whole machine."""
    path = tmp_path / "xtables.lock"
    monkeypatch.setenv("XTABLES_LOCKFILE", str(path))
    return path


@pytest.fixture
def hosts(make_netns: Callable[[str], Namespace]) -> Hosts:
    """A node, a pod, a remote pod and the outside, connected."""
    return build(make_netns)


@pytest.fixture(scope="session")
def lacking() -> dict[str, str]:
    """Programs that this machine lacks, or its kernel does not serve, each with the reason."""
    return {}


@pytest.fixture
def need(make_netns: Callable[[str], Namespace], lacking: dict[str, str]) -> Callable[[str], None]:
    """Skip the test, with the reason, where a program does not work here."""

    def check(program: str) -> None:
        if program not in lacking:
            lacking[program] = _why_lacking(program, make_netns)
        if lacking[program] == _NOT_INSTALLED and os.environ.get("FIREWALL_REQUIRED"):
            pytest.fail(f"{program} is not installed, and FIREWALL_REQUIRED is set")
        if lacking[program]:
            pytest.skip(f"{program} does not work here: {lacking[program]}")

    return check


def _why_lacking(program: str, make_netns: Callable[[str], Namespace]) -> str:
    if shutil.which(program, path=_SYSTEM) is None:
        return _NOT_INSTALLED
    try:
        make_netns("probe").exec(_PROBES[program])
    except AssertionError as error:
        return str(error)
    return ""


@pytest.fixture
def usual_iptables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the programs of a variant, nft or legacy, this host's iptables for the test."""

    def use(variant: str) -> None:
        for name in ("iptables", "ip6tables"):
            for suffix in ("", "-save", "-restore"):
                real = shutil.which(f"{name}-{variant}{suffix}", path=_SYSTEM)
                assert real is not None
                # By its own name: these programs look at the name they are called by.
                (tmp_path / f"{name}{suffix}").write_text(f'#!/bin/sh\nexec {real} "$@"\n')
                (tmp_path / f"{name}{suffix}").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return use
