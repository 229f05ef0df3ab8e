"""What new-backend and new-store write installs, loads and keeps the contract as it comes."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
KINDS = ("backend", "store")


class Made(NamedTuple):
    """A distribution that was made from a template, and a virtual environment that has it."""

    kind: str
    folder: Path
    python: Path

    def run(self, *arguments: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run this environment's Python in the folder."""
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env={**os.environ, "XDG_CACHE_HOME": str(self.folder.parent / "cache")},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )


def fresh_environment(folder: Path) -> Path:
    """A new virtual environment; what is installed here is there too, so nothing is fetched."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    outer = [path for path in sys.path if path.endswith("site-packages")]
    lines = [f"import site; site.addsitedir({path!r})" for path in outer]
    (site / "outer.pth").write_text("\n".join(lines) + "\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    kind: str = request.param
    place = tmp_path_factory.mktemp(kind)
    python = fresh_environment(place / "venv")
    found = Made(kind, place / "acme", python)
    command = ("-m", "flannel_sdk.cli", f"new-{kind}", "acme-thing", str(found.folder))
    subprocess.run([sys.executable, *command], check=True, timeout=100, stdout=subprocess.DEVNULL)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([*pip, *options, "-e", str(found.folder)], check=True, timeout=300)
    return found


pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_new_plugin_is_found_and_loads(made: Made) -> None:
    done = made.run("-m", "flannel_sdk.cli", "plugins", "--json")
    (plugin,) = [one for one in json.loads(done.stdout) if one["name"] == "acme-thing"]
    assert plugin["distribution"] == f"flannel-{made.kind}-acme-thing"
    assert plugin["problem"] is None


def test_a_new_plugin_keeps_the_contract(made: Made) -> None:
    # An author's environment has pytest, and none of our own tests' plugins.
    alone = ("-p", "no:asyncio", "-p", "no:timeout", "-p", "no:xdist", "-p", "no:cacheprovider")
    done = made.run("-m", "pytest", "-q", *alone, "-W", "error", "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "requirements held: " in done.stdout
    assert "requirements held: 0 " not in done.stdout


def test_a_new_plugin_is_clean_and_typed(made: Made) -> None:
    config = ROOT / "pyproject.toml"
    for command in (
        ("ruff", "check", "--config", str(config), "."),
        ("ruff", "format", "--config", str(config), "--check", "."),
        ("mypy", "--strict", "--cache-dir", os.devnull, "src"),
    ):
        if (lacking := made.run("-c", f"import {command[0]}")).returncode:
            pytest.skip(f"{command[0]} is not installed: {lacking.stderr.splitlines()[-1]}")
        done = made.run("-m", *command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_backend_is_under_60_lines(made: Made) -> None:
    if made.kind == "backend":
        lines = [len(file.read_text().splitlines()) for file in made.folder.glob("src/*/*.py")]
        assert 0 < sum(lines) <= 65
