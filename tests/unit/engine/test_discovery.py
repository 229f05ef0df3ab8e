"""Discovery: a good plugin loads, each kind of bad one gives one sentence and harms no other."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flannel_sdk.engine import discovery
from flannel_sdk.errors import PluginError
from flannel_sdk.interfaces import CONTRACT_VERSION
from tests.plugin_distributions import (
    BACKENDS,
    GOOD_BACKEND,
    GOOD_STORE,
    STORES,
    install,
    write_metadata,
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder at the front of sys.path; what was imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def problem_with(name: str) -> str:
    """The sentence that loading this backend ends in."""
    with pytest.raises(PluginError) as caught:
        discovery.load_backend_plugin(name)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return sentence


def loads(name: str) -> bool:
    return discovery.load_backend_plugin(name).contract_version == CONTRACT_VERSION


def listed(name: str, group: str = BACKENDS) -> list[discovery.PluginInfo]:
    return [plugin for plugin in discovery.list_plugins(group) if plugin.name == name]


def test_a_good_backend_loads(site: Path) -> None:
    install(site, "acme-wire", {"wire": "plugin"}, version="2.5")
    assert loads("wire")
    assert listed("wire") == [
        discovery.PluginInfo("wire", BACKENDS, "acme-wire", "2.5", CONTRACT_VERSION, None)
    ]


def test_backend_names_are_case_insensitive(site: Path) -> None:
    install(site, "acme-wire", {"Wire": "plugin"})
    assert discovery.load_backend_plugin("WIRE") is discovery.load_backend_plugin("wire")
    assert "wire" in discovery.plugin_names(BACKENDS)


def test_a_good_store_loads(site: Path) -> None:
    install(site, "acme-book", {"book": "plugin"}, source=GOOD_STORE, group=STORES)
    plugin = discovery.load_store_plugin("book")
    assert plugin.open(plugin.options_type(path="p")) is not None
    assert listed("book", STORES)[0].problem is None


def test_a_plugin_installed_this_moment_is_found(site: Path) -> None:
    install(site, "acme-first", {"first": "plugin"})
    assert loads("first")
    install(site, "acme-second", {"second": "plugin"})
    assert loads("second")


def test_names_are_listed_without_importing(site: Path) -> None:
    module = install(site, "acme-wire", {"wire": "plugin"})
    assert "wire" in discovery.plugin_names(BACKENDS)
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("assert False", "AssertionError"),
        ("def (", "SyntaxError"),
        ("other = 1", "AttributeError"),
    ],
)
def test_a_plugin_that_cannot_be_imported(site: Path, source: str, said: str) -> None:
    install(site, "acme-broken", {"broken": "plugin"}, source=source)
    install(site, "acme-wire", {"wire": "plugin"})
    sentence = problem_with("broken")
    assert sentence.startswith("backend broken (acme-broken 1.0) cannot be imported: ")
    assert said in sentence
    assert [plugin.problem for plugin in listed("broken")] == [sentence]
    assert loads("wire")


def test_an_interrupt_while_importing_is_not_swallowed(site: Path) -> None:
    install(site, "acme-slow", {"slow": "plugin"}, source="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        discovery.load_backend_plugin("slow")


def test_the_cause_is_chained(site: Path) -> None:
    install(site, "acme-broken", {"broken": "plugin"}, source="1/0")
    with pytest.raises(PluginError) as caught:
        discovery.load_backend_plugin("broken")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_name_claimed_twice(site: Path) -> None:
    install(site, "acme-wire", {"wire": "plugin"})
    install(site, "other-wire", {"WIRE": "plugin"}, version="3")
    install(site, "acme-cable", {"cable": "plugin"})
    sentence = problem_with("wire")
    assert "acme-wire 1.0" in sentence
    assert "other-wire 3" in sentence
    assert "uninstall all but one" in sentence
    assert {plugin.distribution for plugin in listed("wire")} == {"acme-wire", "other-wire"}
    assert all(plugin.problem == sentence for plugin in listed("wire"))
    assert loads("cable")


def test_claims_that_are_not_neighbours_are_still_counted(site: Path) -> None:
    install(site, "acme-one", {"wire": "plugin"})
    install(site, "acme-two", {"between": "plugin"})
    install(site, "acme-three", {"wire": "plugin"})
    assert "claimed by" in problem_with("wire")


def test_one_distribution_seen_twice_claims_once(
    site: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with an editable install, whose source folder holds an egg-info of the same name."""
    install(site, "acme-wire", {"wire": "plugin"})
    other = tmp_path_factory.mktemp("source")
    egg = other / "acme_wire.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: Acme_Wire\nVersion: 0.9\n")
    (egg / "entry_points.txt").write_text(f"[{BACKENDS}]\nwire = acme_wire:plugin\n")
    monkeypatch.syspath_prepend(other)
    assert loads("wire")
    assert len(listed("wire")) == 1


@pytest.mark.parametrize(
    ("version", "upgrade"),
    [(CONTRACT_VERSION - 1, "acme-wire"), (CONTRACT_VERSION + 1, "flannel-sdk")],
)
def test_a_wrong_contract_version(site: Path, version: int, upgrade: str) -> None:
    source = GOOD_BACKEND.replace("= CONTRACT_VERSION", f"= {version}")
    install(site, "acme-wire", {"wire": "plugin"}, source=source)
    sentence = problem_with("wire")
    assert f"made for contract version {version}" in sentence
    assert sentence.endswith(f"upgrade {upgrade}")
    assert listed("wire")[0].contract_version == version


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("def create", "def make"), "lacks create"),
        (("def create(self, context)", "create = 5\n    def make(self)"), "lacks create"),
        (("contract_version =", "other ="), "has no contract_version"),
        (("= CONTRACT_VERSION", "= '1'"), "has no contract_version"),
        (("= CONTRACT_VERSION", "= property(lambda self: 1/0)"), "has no contract_version"),
        (("= Plugin()", "= Plugin"), "is the class Plugin"),
        (("= Plugin()", "= None"), "has no contract_version"),
    ],
)
def test_a_plugin_of_another_shape(site: Path, change: tuple[str, str], said: str) -> None:
    install(site, "acme-wire", {"wire": "plugin"}, source=GOOD_BACKEND.replace(*change))
    assert said in problem_with("wire")


def test_a_store_whose_options_are_not_a_dataclass(site: Path) -> None:
    source = GOOD_STORE.replace("options_type = Options", "options_type = dict")
    install(site, "acme-book", {"book": "plugin"}, source=source, group=STORES)
    with pytest.raises(PluginError, match=r"store book .* lacks options_type"):
        discovery.load_store_plugin("book")


def test_an_unknown_name_lists_what_there_is_and_suggests(site: Path) -> None:
    install(site, "acme-wire", {"wire": "plugin"})
    assert "did you mean wire?" in problem_with("wier")
    sentence = problem_with("qqqq")
    assert "'qqqq'" in sentence
    assert "wire" in sentence
    assert "did you mean" not in sentence


def test_a_backend_of_ours_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert problem_with("vxlan") == "backend vxlan is not installed: pip install flannel-sdk-vxlan"
    assert "pip install flannel-sdk-hostgw" in problem_with("Host-GW")
    assert "no backend is installed" in problem_with("magic")
    assert "names no Backend" in problem_with("udp")
    assert discovery.list_plugins(BACKENDS) == []


@pytest.mark.parametrize("name", ["etcd", "etcd3", "ETCD"])
def test_a_store_of_ours_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(PluginError, match="is not installed: pip install flannel-sdk-etcd"):
        discovery.load_store_plugin(name)


def test_a_strangers_unreadable_metadata_hides_no_other(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(site, "acme-wire", {"wire": "plugin"})
    write_metadata(site, "stranger", "1", "[some.group]\nno equals sign\n")
    assert loads("wire")
    assert "stranger" in caplog.text
