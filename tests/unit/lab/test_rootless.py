"""The user namespace of labs without root: made, entered, ended, and refused with a sentence."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flannel_sdk.lab import LabError, LabNames
from flannel_sdk.lab.rootless import UserNamespace, end_user_namespace

BEGIN = """
from flannel_sdk.errors import PrivilegeError
from flannel_sdk.lab import LabNames
from flannel_sdk.lab.rootless import UserNamespace
try:
    UserNamespace(LabNames("refused")).begin()
except PrivilegeError as error:
    print(error)
"""


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UserNamespace]:
    probe = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "true"],
        check=False,
        capture_output=True,
        text=True,
    )
    if probe.returncode:
        pytest.skip(f"user namespaces are off here: {probe.stderr.strip()}")
    monkeypatch.setenv("FLANNEL_LAB_DIR", str(tmp_path / "holder"))
    made = UserNamespace(LabNames("unit"))
    yield made
    end_user_namespace(made)


def test_it_has_its_own_run_and_lasts_until_ended(namespace: UserNamespace) -> None:
    namespace.begin()
    holder = namespace.holder()
    assert holder is not None
    namespace.begin()
    assert namespace.holder() == holder
    assert namespace.run(["sh", "-c", 'test "$(id -u)" = 0 && test -z "$(ls /run)"']) == 0
    assert namespace.run(["sh", "-c", "sleep 60 & exit 3"]) == 3
    assert end_user_namespace(namespace) == 1
    assert not holder.alive
    assert not namespace.directory.exists()
    assert end_user_namespace(namespace) == 0


def test_nothing_runs_inside_before_it_is_there(namespace: UserNamespace) -> None:
    with pytest.raises(LabError, match="lab up"):
        namespace.run(["true"])


async def test_the_inside_is_found_though_the_holder_was_killed(namespace: UserNamespace) -> None:
    namespace.begin()
    namespace.run(["sh", "-c", "sleep 60 &"])
    holder = namespace.holder()
    assert holder is not None
    (namespace.directory / "holder.json").unlink()
    assert await namespace.end() == 2
    assert not holder.alive


def test_a_kernel_that_refuses_is_told_of(namespace: UserNamespace, tmp_path: Path) -> None:
    """Inside a user namespace whose own limit of further ones is zero."""
    limit = "echo 0 > /proc/sys/user/max_user_namespaces"
    done = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "sh", "-c"),
            f'{limit} && exec "$@"',
            *("sh", sys.executable, "-c", BEGIN),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "needs root, or a kernel that lets you make a user namespace" in done.stdout
    assert "max_user_namespaces" in done.stdout
    assert "unshare failed" in done.stdout


def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = tmp_path / "link"
    link.symlink_to(elsewhere)
    monkeypatch.setenv("FLANNEL_LAB_DIR", str(link))
    with pytest.raises(LabError, match="somebody else"):
        UserNamespace(LabNames("unit")).begin()
    assert asyncio.run(UserNamespace(LabNames("unit")).end()) == 0
