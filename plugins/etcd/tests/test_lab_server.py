"""The server of a lab's own: only where none is named, on the address that the nodes reach."""

from pathlib import Path

import pytest
from flannel_sdk_etcd import EtcdOptions, plugin

from flannel_sdk.errors import ConfigError
from flannel_sdk.interfaces import SupportsLabServer
from flannel_sdk.model import IPAddress

HERE = Path("/run/lab")


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Something to run; what etcd does is shown by the labs."""
    file = tmp_path / "my-etcd"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    monkeypatch.setenv("ETCD", str(file))
    return file


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("192.168.101.254", "http://192.168.101.254:2379"),
        ("fd00:101::254", "http://[fd00:101::254]:2379"),
    ],
)
def test_it_listens_where_the_nodes_look(address: str, endpoint: str, program: Path) -> None:
    assert isinstance(plugin, SupportsLabServer)
    server = plugin.lab_server({"prefix": "/x"}, HERE, IPAddress.parse(address))
    assert server is not None
    assert server.options == {"prefix": "/x", "endpoints": endpoint}
    words = list(server.argv)
    assert str(program) in words
    for flag in ("--listen-client-urls", "--advertise-client-urls"):
        assert words[words.index(flag) + 1] == endpoint
    assert words[words.index("--data-dir") + 1].startswith(f"{HERE}/")
    assert EtcdOptions(endpoints=(server.options["endpoints"],), prefix="/x").members()


@pytest.mark.parametrize("given", [{"endpoints": "unix:/x"}, {"host": "192.0.2.1"}])
def test_there_is_none_where_a_member_is_named(given: dict[str, str]) -> None:
    assert plugin.lab_server(given, HERE, IPAddress.parse("192.0.2.1")) is None


def test_variables_that_etcd_would_take_for_flags_are_not_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ETCD_NAME", "other")
    server = plugin.lab_server({}, HERE, IPAddress.parse("192.0.2.1"))
    assert server is not None
    assert list(server.argv[:3]) == ["env", "-u", "ETCD_NAME"]


def test_without_a_program_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCD", "/nowhere/etcd")
    with pytest.raises(ConfigError, match="ETCD names no program"):
        plugin.lab_server({}, HERE, IPAddress.parse("192.0.2.1"))


def test_a_password_is_an_option_and_no_word_of_the_server() -> None:
    options = {"user": "root", "password": "hunter2"}
    server = plugin.lab_server(options, HERE, IPAddress.parse("192.0.2.1"))
    assert server is not None
    assert "hunter2" not in " ".join(server.argv)
