"""The public names are those written down: one is added on purpose, or deprecated."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import flannel_sdk

PINNED = Path(__file__).with_name("public_names.txt")
MODULES = ("flannel_sdk", *(f"flannel_sdk.{name}" for name in ("interfaces", "toolkit", "testing")))


def exported(module: str) -> list[str]:
    return [f"{module}.{name}" for name in sorted(importlib.import_module(module).__all__)]


def test_the_public_names_are_those_written_down() -> None:
    names = [name for module in MODULES for name in exported(module)]
    assert names == PINNED.read_text().splitlines()


@pytest.mark.parametrize("module", MODULES)
def test_each_public_name_is_there(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in found.__all__ if getattr(found, name, None) is None] == []


def test_the_package_lists_its_names_and_has_no_others() -> None:
    assert dir(flannel_sdk) == sorted(flannel_sdk.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Agent'"):
        _ = flannel_sdk.Agent  # type: ignore[attr-defined]  # that it has none is the point


def test_the_package_alone_loads_none_of_them() -> None:
    script = "import sys, flannel_sdk; print('flannel_sdk.agent' in sys.modules, end=' ')\n"
    script += "flannel_sdk.NodeAgent; print('flannel_sdk.agent' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "False True\n"
