"""The state file: read back as written, and a folder that is not a lab's is never harmed."""

from pathlib import Path

import pytest

from flannel_sdk.lab import LabError, LabSpec
from flannel_sdk.lab.processes import ProcessId
from flannel_sdk.lab.state import (
    STATE_FILE,
    LabState,
    NodeRecord,
    ServerRecord,
    claim_directory,
    load_state,
    remove_directory,
    save_state,
)
from flannel_sdk.model import Prefix


def test_state_is_read_back_as_written(tmp_path: Path) -> None:
    addresses = [Prefix.parse("10.5.1.2/24"), Prefix.parse("fd05::2/64")]
    state = LabState(
        LabSpec(nodes=2, store_options={"path": "x"}),
        "",
        {1: NodeRecord(1, ProcessId(10, 20), addresses, 1450), 2: NodeRecord(2)},
        server=ServerRecord(["etcd", "--name", "lab"], ProcessId(30, 40)),
        made_netns_directory=True,
    )
    save_state(tmp_path, state)
    assert load_state(tmp_path, "") == state
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]


def test_no_file_is_no_lab(tmp_path: Path) -> None:
    assert load_state(tmp_path, "") is None
    assert load_state(tmp_path / "absent", "") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"spec": {}}'])
def test_a_torn_file_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(LabError, match="lab down"):
        load_state(tmp_path, "")


def test_a_lab_of_another_name_is_not_taken_for_ours(tmp_path: Path) -> None:
    save_state(tmp_path, LabState(LabSpec(), "theirs"))
    with pytest.raises(LabError, match="belongs to the lab called 'theirs'"):
        load_state(tmp_path, "ours")


def test_a_directory_is_claimed_once(tmp_path: Path) -> None:
    directory = tmp_path / "lab"
    claim_directory(directory)
    with pytest.raises(LabError, match="lab down"):
        claim_directory(directory)
    assert remove_directory(directory)
    assert not directory.exists()
    assert not remove_directory(directory)


def test_all_of_a_lab_goes(tmp_path: Path) -> None:
    directory = tmp_path / "lab"
    claim_directory(directory)
    (directory / "node-1").mkdir()
    (directory / "node-1" / "daemon.log").write_text("x")
    (directory / "store.db").write_text("x")
    assert remove_directory(directory)
    assert not directory.exists()


def test_a_folder_with_other_files_is_neither_claimed_nor_removed(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text("x")
    with pytest.raises(LabError, match="not a lab's"):
        claim_directory(tmp_path)
    assert not remove_directory(tmp_path)
    assert precious.exists()
