"""The lab's store: what is kept and shown of its options, and the server that it may need."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from flannel_sdk.agent.installed_store import InstalledStore, find_store
from flannel_sdk.cli.lab_print import print_store
from flannel_sdk.errors import ConfigMissing, PermanentError, PluginError, StoreUnavailable
from flannel_sdk.interfaces import LabServer
from flannel_sdk.lab import Lab, LabNames, LabSpec
from flannel_sdk.lab.daemon import flannel_sdk_daemon
from flannel_sdk.lab.node_files import NodeFiles
from flannel_sdk.lab.reports import report_store
from flannel_sdk.lab.secret_files import write_secrets
from flannel_sdk.lab.state import STATE_FILE, LabState, ServerRecord
from flannel_sdk.lab.store import planned_server, put_network_config, secret_options
from flannel_sdk.lab.store_inside import reach_store
from flannel_sdk.model import IPAddress
from flannel_sdk.stores.manager import EmbeddedSubnetManager
from tests.plugin_distributions import KEPT_STORE, STORES, install

PASSWORD = "hunter2"
CONFIG = '{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}'


def test_a_secret_is_neither_in_the_labs_file_nor_in_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "acme-kept", {"kept": "plugin"}, source=KEPT_STORE, group=STORES)
    directory = tmp_path / "lab"
    directory.mkdir()
    options = {"acme-members": "a,b", "password": PASSWORD, "acme_password": PASSWORD}
    state = LabState(LabSpec(store="kept", store_options=options), "u")
    lab = Lab(LabNames("u"), directory, state, flannel_sdk_daemon)
    lab._save()
    assert "a,b" in (directory / STATE_FILE).read_text()
    again = Lab.attach(instance="u", directory=directory)
    for shown in (lab, again):
        report = report_store(shown)
        assert report.options == {"acme-members": "a,b"}
        print_store(report)
        print(json.dumps(report.to_json()))
    assert PASSWORD not in (directory / STATE_FILE).read_text() + capsys.readouterr().out
    assert lab.spec.store_options == options, "the running lab still needs it"


def test_a_secret_is_in_no_command_line_but_in_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may list the processes of a machine, and read what has no narrower mode."""
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "acme-kept", {"kept": "plugin"}, source=KEPT_STORE, group=STORES)
    directory = tmp_path / "lab"
    directory.mkdir()
    spec = LabSpec(store="kept", store_options={"acme-password": PASSWORD, "members": "a"})
    write_secrets(directory, secret_options(spec))
    argv = flannel_sdk_daemon(spec, NodeFiles(directory, 1))
    assert not [word for word in argv if PASSWORD in word]
    assert "members=a" in argv
    given = argv[argv.index("--store-option-file") + 1]
    key, _, path = given.partition("=")
    assert key == "acme_password"
    assert Path(path).read_text() == PASSWORD
    assert (Path(path).stat().st_mode & 0o777, Path(path).parent.stat().st_mode & 0o777) == (
        0o600,
        0o700,
    )
    Lab(LabNames("u"), directory, LabState(spec, "u"), flannel_sdk_daemon)._save()
    again = Lab.attach(instance="u", directory=directory)
    assert again.spec.store_options == {"members": "a", "acme_password": PASSWORD}
    assert report_store(again).options == {"members": "a"}


def test_a_store_without_that_ability_needs_no_server(tmp_path: Path) -> None:
    assert planned_server(LabSpec(), tmp_path) is None


class Plugin:
    """A store plugin with a server, or a defect."""

    contract_version = 1

    def __init__(self, error: Exception | None = None) -> None:
        self.options_type = find_store("sqlite")._plugin.options_type
        self.asked: list[Mapping[str, str]] = []
        self._error = error

    def open(self, options: object) -> EmbeddedSubnetManager:
        raise NotImplementedError

    def lab_server(
        self, options: Mapping[str, str], directory: Path, address: IPAddress
    ) -> LabServer | None:
        self.asked.append(options)
        if self._error is not None:
            raise self._error
        return LabServer(["serve", str(address)], {**options, "path": str(directory)})


def test_the_plugin_is_given_options_by_their_own_names(tmp_path: Path) -> None:
    plugin = Plugin()
    server = InstalledStore("x", plugin).lab_server(
        {"ttl": "7", "PA-TH": "x"}, tmp_path, IPAddress.parse("192.0.2.1")
    )
    assert plugin.asked == [{"ttl": "7", "PA_TH": "x"}]
    assert server is not None
    assert server.argv == ["serve", "192.0.2.1"]


@pytest.mark.parametrize(
    ("error", "raised"), [(PermanentError("no etcd"), PermanentError), (KeyError("x"), PluginError)]
)
def test_what_a_plugin_fails_with_is_one_sentence(
    tmp_path: Path, error: Exception, raised: type[Exception]
) -> None:
    store = InstalledStore("x", Plugin(error))
    with pytest.raises(raised):
        store.lab_server({}, tmp_path, IPAddress.parse("192.0.2.1"))


async def test_a_store_that_comes_late_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = EmbeddedSubnetManager.put_network_config, [StoreUnavailable("down")] * 3

    async def late(manager: EmbeddedSubnetManager, document: str) -> object:
        if failures:
            raise failures.pop()
        return await real(manager, document)

    monkeypatch.setattr(EmbeddedSubnetManager, "put_network_config", late)
    options = {"path": str(tmp_path / "net.db")}
    await reach_store("sqlite", options, CONFIG, 10.0)
    assert failures == []
    await reach_store("sqlite", options, None, 0.0)


async def test_one_that_never_comes_is_given_up_with_its_own_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def down(manager: EmbeddedSubnetManager) -> object:
        raise StoreUnavailable("the store is down")

    monkeypatch.setattr(EmbeddedSubnetManager, "get_network_config", down)
    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailable, match="the store is down"):
            await reach_store("memory", {}, None, 0.2)


async def test_a_store_without_a_configuration_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def empty(manager: EmbeddedSubnetManager) -> object:
        raise ConfigMissing("none yet")

    monkeypatch.setattr(EmbeddedSubnetManager, "get_network_config", empty)
    await reach_store("memory", {}, None, 0.0)


async def test_the_config_is_put_from_here_where_there_is_no_server(tmp_path: Path) -> None:
    await put_network_config(LabSpec(), tmp_path)
    assert (tmp_path / "store.db").exists()


async def test_the_program_says_in_one_line_what_is_wrong() -> None:
    wanted = {"store": "sqlite", "options": {"pth": "x"}, "document": None, "seconds": 0}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "flannel_sdk.lab.store_inside"),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await child.communicate(json.dumps(wanted).encode())
    assert child.returncode == 1
    assert said.decode() == "the store sqlite has no option 'pth': it takes path, ttl\n"


def test_a_server_that_has_ended_is_said_to_be_dead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = LabState(LabSpec(), "u", server=ServerRecord(["etcd"]))
    print_store(report_store(Lab(LabNames("u"), tmp_path, state, flannel_sdk_daemon)))
    assert capsys.readouterr().out == "store sqlite; its server is dead\n"
