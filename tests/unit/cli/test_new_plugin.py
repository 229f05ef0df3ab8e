"""Bad input of ``new-backend`` and ``new-store``, and the files that they write."""

import tomllib
from pathlib import Path

import pytest

from flannel_sdk.cli import main

COMMANDS = ("new-backend", "new-store")


@pytest.mark.parametrize("command", COMMANDS)
def test_it_writes_a_distribution_and_says_what_to_do_next(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "acme-one", str(tmp_path / "new")]) == 0
    project = tomllib.loads((tmp_path / "new/pyproject.toml").read_text())
    kind = command.removeprefix("new-")
    (group,) = project["project"]["entry-points"].values()
    assert group == {"acme-one": f"flannel_{kind}_acme_one:plugin"}
    out = capsys.readouterr().out
    assert f"cd {tmp_path / 'new'}" in out
    for path in (tmp_path / "new").rglob("*"):
        assert not path.is_file() or str(path) in out
        assert path.suffix != ".tmpl"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "name", ["", "Acme", "a_b", "1a", "a--b", "-a", "a-", "a b", "x" * 41, "class", "ä"]
)
def test_a_name_that_cannot_be_is_refused(
    command: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--", name, str(tmp_path / "new")]) == 1
    assert repr(name) in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert main(["new-backend", "acme", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["new-store", "acme", str(tmp_path / "file" / "below")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path / "file") in error


def test_without_a_folder_it_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-backend", "acme"]) == 2
    assert "DIR" in capsys.readouterr().err
