"""What the projects of this repository say about themselves agrees, without building anything."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from flannel_sdk import __version__

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))


def read(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())


def packages(plugin: Path) -> list[str]:
    return [path.parent.name for path in plugin.glob("src/*/__init__.py")]


def test_there_are_plugins() -> None:
    known = {
        "vxlan",
        "hostgw",
        "alloc",
        "extension",
        "exec",
        "etcd",
        "kube",
        "udp",
    }
    assert known <= {plugin.name for plugin in PLUGINS}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_has_the_cores_version_and_pins_it(plugin: Path) -> None:
    project = read(plugin)["project"]
    assert project["version"] == __version__
    assert f"flannel-sdk=={__version__}" in project["dependencies"]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_agrees_with_the_core(plugin: Path) -> None:
    core, project = read(ROOT)["project"], read(plugin)["project"]
    for key in ("requires-python", "license", "license-files"):
        assert project[key] == core[key]
    assert read(plugin)["build-system"] == read(ROOT)["build-system"]
    assert (plugin / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_the_tools_know_each_plugin(plugin: Path) -> None:
    tool = read(ROOT)["tool"]
    assert f"plugins/{plugin.name}/src" in tool["mypy"]["mypy_path"]
    assert set(packages(plugin)) <= set(tool["importlinter"]["root_packages"])
    for contract in tool["importlinter"]["contracts"]:
        listed = {name for key in contract if key.endswith("modules") for name in contract[key]}
        if any(name.startswith("flannel_sdk_") for name in listed):
            assert set(packages(plugin)) <= listed, contract["name"]


def test_the_changelog_has_a_place_for_what_comes() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
