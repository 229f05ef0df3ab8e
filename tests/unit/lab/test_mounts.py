"""The directory of namespaces: recognised as a mount, and left or removed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flannel_sdk.lab import mounts


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /run/netns, which other tests are using."""
    made = tmp_path / "netns"
    made.mkdir()
    monkeypatch.setattr(mounts, "NETNS_DIRECTORY", made)
    return made


@pytest.fixture
def mounted(directory: Path) -> Iterator[Path]:
    """As ``ip netns add`` makes it: bound to itself."""
    subprocess.run(["mount", "--bind", directory, directory], check=True, timeout=5)
    yield directory
    if directory.exists() and mounts.netns_directory_is_mounted():
        subprocess.run(["umount", directory], check=True, timeout=5)


def test_a_plain_directory_is_no_mount_and_neither_is_none(directory: Path) -> None:
    assert not mounts.netns_directory_is_mounted()
    directory.rmdir()
    assert not mounts.netns_directory_is_mounted()


@pytest.mark.root
def test_a_directory_bound_to_itself_is_a_mount(mounted: Path) -> None:
    assert mounts.netns_directory_is_mounted()


def test_a_directory_with_something_in_it_is_left(directory: Path) -> None:
    (directory / "somebodys").touch()
    mounts.leave_netns_directory()
    assert os.listdir(directory) == ["somebodys"]


@pytest.mark.root
def test_a_mount_with_something_in_it_is_left(mounted: Path) -> None:
    (mounted / "somebodys").touch()
    mounts.leave_netns_directory()
    assert mounts.netns_directory_is_mounted()


@pytest.mark.root
def test_an_empty_mount_is_undone(mounted: Path) -> None:
    mounts.leave_netns_directory()
    assert not mounted.exists()


def test_leaving_where_there_is_none_is_fine(directory: Path) -> None:
    directory.rmdir()
    mounts.leave_netns_directory()
    assert not directory.exists()
