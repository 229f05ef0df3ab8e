"""``flannel-sdk config``: what is put is what is shown, and what cannot be is one sentence."""

import io
import json
from pathlib import Path

import pytest

from flannel_sdk.cli import main

CONFIG = '{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 7}}'


@pytest.fixture
def store(tmp_path: Path) -> list[str]:
    return ["--store", "sqlite", "--store-option", f"path={tmp_path / 'net.db'}"]


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "net-conf.json"
    path.write_text(CONFIG)
    return path


def test_what_was_put_from_a_file_is_shown(
    store: list[str], document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "put", str(document), *store]) == 0
    put = capsys.readouterr()
    assert main(["config", "show", *store]) == 0
    shown = capsys.readouterr()
    assert put.out == shown.out
    assert shown.err == ""
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["IPv4", "network", "10.5.0.0/16"] in lines
    assert ["backend", "vxlan"] in lines
    assert ["backend", "VNI", "7"] in lines


def test_what_comes_on_standard_input_is_put_and_json_is_for_programs(
    store: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dual = '{"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fd05::/48"}'
    monkeypatch.setattr("sys.stdin", io.StringIO(dual))
    assert main(["config", "put", "-", "--json", *store]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["IPv4 network"] == "10.5.0.0/16"
    assert found["IPv6 network"] == "fd05::/48"
    assert found["IPv6 subnets"].endswith("/64 each")


def test_the_later_put_wins(
    store: list[str], document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["config", "put", str(document), *store])
    document.write_text(CONFIG.replace("10.5", "10.9"))
    main(["config", "put", str(document), *store])
    capsys.readouterr()
    main(["config", "show", "--json", *store])
    assert json.loads(capsys.readouterr().out)["IPv4 network"] == "10.9.0.0/16"


def test_a_wrong_document_is_refused_and_the_good_one_stays(
    store: list[str], document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["config", "put", str(document), *store])
    document.write_text('{"Network": "10.5.0.0/40"}')
    capsys.readouterr()
    assert main(["config", "put", str(document), *store]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("flannel-sdk: ")
    assert said.err.count("\n") == 1
    main(["config", "show", "--json", *store])
    assert json.loads(capsys.readouterr().out)["IPv4 network"] == "10.5.0.0/16"


def test_put_needs_a_file(store: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "put", *store]) == 2
    assert "put needs a file" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["missing", "no text"])
def test_a_file_that_cannot_be_read_is_named(
    content: bytes | None, store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "unreadable.json"
    if content is not None:
        path.write_bytes(content)
    assert main(["config", "put", str(path), *store]) == 1
    assert f"cannot read {path}" in capsys.readouterr().err
