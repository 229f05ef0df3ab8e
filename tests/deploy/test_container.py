"""The image is built from what is in the repository, and not from what a machine left beside it."""

import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_what_git_leaves_out_is_left_out_of_the_build_too() -> None:
    """A folder such as plugins/__pycache__ would be taken for a plugin, and not be installed."""
    left_out = [
        line.rstrip("/")
        for line in (ROOT / ".gitignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert left_out
    for pattern in left_out:
        below = [] if pattern.startswith("/") or pattern.startswith(".") else ["plugins/udp/"]
        for place in ["", *below]:
            path = place + pattern.removeprefix("/").replace("*", "x")
            assert _is_ignored(path), f"{path} gets into the image's build"
    assert _is_ignored(".git")


def test_what_the_build_needs_is_not_left_out() -> None:
    done = subprocess.run(
        ["git", "ls-files", "flannel_sdk", "plugins", "pyproject.toml", "README.md", "LICENSE"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"this is no checkout of git: {done.stderr.strip()}")
    files = done.stdout.splitlines()
    assert "flannel_sdk/__init__.py" in files
    assert not [file for file in files if _is_ignored(file)]


def _is_ignored(path: str) -> bool:
    parts = path.split("/")
    starts = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return any(_matches(pattern, start) for pattern in _patterns() for start in starts)


def _patterns() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _matches(pattern: str, path: str) -> bool:
    """As Docker and Podman match: from the root, unless it begins with ``**/``."""
    if pattern.startswith("**/"):
        return fnmatch(re.sub(r".*/", "", path), pattern.removeprefix("**/"))
    return path.count("/") == pattern.count("/") and fnmatch(path, pattern)
