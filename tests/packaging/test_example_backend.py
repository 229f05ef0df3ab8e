"""The third-party backend of ``examples/backend`` installs, is found, and carries traffic."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "backend"
LAB = "wire"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the example is installed into, built from a copy of it."""
    source = tmp_path_factory.mktemp("source") / "backend"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command = [*pip, "--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(command, check=True, timeout=60)
    return target


def flannel_sdk(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flannel_sdk.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_is_listed_and_loads(site: Path) -> None:
    plugins = json.loads(flannel_sdk(site, "plugins", "--json").stdout)
    (wire,) = [plugin for plugin in plugins if plugin["name"] == "wire"]
    assert wire["distribution"] == "acme-wire"
    assert wire["problem"] is None


def test_it_is_under_60_lines() -> None:
    assert len((EXAMPLE / "acme_wire.py").read_text().splitlines()) < 60


@pytest.mark.root
@pytest.mark.usefixtures("vxlan")
def test_its_pods_reach_each_other_and_a_lost_device_heals(site: Path) -> None:
    try:
        lab = ("--name", LAB, "--backend", "wire", "--nodes", "3", "--json")
        done = flannel_sdk(site, "lab", "demo", *lab)
        assert done.returncode == 0, done.stdout + done.stderr
        story = json.loads(done.stdout)
        assert story["ok"]
        assert story["healed_s"] < 10
    finally:
        flannel_sdk(site, "lab", "down", "--name", LAB)
