"""``flannel-sdk plugins``: the good and the bad, for people and for programs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flannel_sdk.interfaces import CONTRACT_VERSION
from tests.plugin_distributions import GOOD_BACKEND, install


def plugins(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flannel_sdk.cli", "plugins", *arguments],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    install(tmp_path, "acme-wire", {"wire": "plugin"}, version="2.5")
    old = GOOD_BACKEND.replace("= CONTRACT_VERSION", "= 0")
    install(tmp_path, "acme-old", {"old": "plugin"}, source=old)
    install(tmp_path, "acme-broken", {"broken": "plugin"}, source="import no_such_module")
    return tmp_path


def test_a_row_for_each(site: Path) -> None:
    done = plugins(site)
    assert done.stderr == ""
    rows = {tuple(line.split()[:2]): line for line in done.stdout.splitlines()}
    wire = rows["backend", "wire"].split()
    assert wire == ["backend", "wire", "acme-wire", "2.5", str(CONTRACT_VERSION), "ok"]
    assert "cannot be imported: ModuleNotFoundError" in rows["backend", "broken"]
    assert "upgrade acme-old" in rows["backend", "old"]
    assert {("backend", "vxlan"), ("backend", "host-gw"), ("backend", "udp")} <= set(rows)
    assert {("store", "memory"), ("store", "sqlite")} <= set(rows)


def test_json_says_the_same(site: Path) -> None:
    found = {plugin["name"]: plugin for plugin in json.loads(plugins(site, "--json").stdout)}
    assert found["wire"] == {
        "name": "wire",
        "group": "flannel_sdk.backends",
        "distribution": "acme-wire",
        "version": "2.5",
        "contract_version": CONTRACT_VERSION,
        "problem": None,
    }
    assert found["old"]["contract_version"] == 0
    assert found["broken"]["contract_version"] is None
    assert "no_such_module" in found["broken"]["problem"]
