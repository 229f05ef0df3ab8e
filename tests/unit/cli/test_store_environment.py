"""What the environment says about a daemon's store, as flanneld reads it; nobody else reads it."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import pytest

from flannel_sdk.agent import open_store
from flannel_sdk.cli import config, daemon, main
from flannel_sdk.cli.store_arguments import (
    add_chosen_store_arguments,
    add_store_arguments,
    open_chosen_store,
)
from flannel_sdk.errors import ConfigError
from flannel_sdk.model import Secret
from tests.plugin_distributions import KEPT_STORE, STORES, install

PASSWORD = "hunter2"


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed stores that give their options when they are opened."""
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "acme-kept", {"kept": "plugin"}, source=KEPT_STORE, group=STORES)


def parsed(environ: Mapping[str, str], *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_store_arguments(parser)
    add_chosen_store_arguments(parser, words, environ)
    return parser.parse_args(words)


def opened(environ: Mapping[str, str], *words: str) -> Mapping[str, object]:
    made: object = open_chosen_store(parsed(environ, "--store", "kept", *words), environ)
    return vars(made)


def test_an_option_with_a_flag_is_taken_from_flannelds_variable() -> None:
    environ = {
        "FLANNELD_ACME_MEMBERS": "a,b",
        "FLANNELD_ACME_PASSWORD": PASSWORD,
        "FLANNELD_ACME_EAGER": "true",
        "FLANNELD_DEPTH": "7",  # it has no flag
        "FLANNELD_OTHER": "x",
    }
    values = opened(environ)
    assert values["members"] == ("a", "b")
    assert values["password"] == Secret(PASSWORD)
    assert values["eager"] is True
    assert values["depth"] == 3


def test_an_option_may_name_its_variable() -> None:
    assert opened({"ACME_HOST": "n1"})["host"] == "n1"
    assert opened({"ACME_HOST": "n1"}, "--store-option", "host=n2")["host"] == "n2"


@pytest.mark.parametrize(
    "words",
    [
        ("--acme-members", "c"),
        ("--store-option", "members=c"),
        ("--store-option", "acme-members=c"),
    ],
)
def test_the_command_line_goes_first(words: tuple[str, str]) -> None:
    assert opened({"FLANNELD_ACME_MEMBERS": "a,b"}, *words)["members"] == ("c",)


def test_a_no_on_the_command_line_is_an_answer() -> None:
    assert opened({"FLANNELD_ACME_EAGER": "true"}, "--acme-eager=false")["eager"] is False


def test_an_empty_variable_is_none() -> None:
    values = opened({"FLANNELD_ACME_MEMBERS": "", "FLANNELD_ACME_EAGER": "", "ACME_HOST": ""})
    assert (values["members"], values["eager"], values["host"]) == ((), False, None)


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("FLANNELD_ACME_EAGER", "maybe", "kept: eager has to be true or false, not 'maybe'"),
        ("FLANNELD_ACME_MEMBERS", "wrong", "the options are wrong"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    text: str,
    said: str,
) -> None:
    monkeypatch.setenv(variable, text)
    monkeypatch.setenv("FLANNELD_ACME_PASSWORD", PASSWORD)
    assert main(["daemon", "--store", "kept"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"flannel-sdk: {variable}: {said}")
    assert err.count("\n") == 1
    assert PASSWORD not in err


def test_a_wrong_option_of_the_command_line_blames_no_variable() -> None:
    environ = {"FLANNELD_ACME_EAGER": "true"}
    with pytest.raises(ConfigError, match=r"^kept: depth has to be a number"):
        opened(environ, "--store-option", "depth=x")


@pytest.mark.parametrize(
    ("environ", "words", "store"),
    [
        ({}, [], "etcd"),
        ({}, ["--kube-subnet-mgr"], "kube"),
        ({}, ["--kube-subnet-mgr=true"], "kube"),
        ({}, ["--kube-subnet-mgr=1", "--store", "kube"], "kube"),
        ({}, ["--kube-subnet-mgr=false"], "etcd"),
        ({}, ["--kube-subnet-mgr=false", "--store", "kept"], "kept"),
        ({}, ["--kube-subnet-mgr", "--kube-subnet-mgr=false"], "etcd"),
        ({"FLANNELD_KUBE_SUBNET_MGR": "true"}, [], "kube"),
        ({"FLANNELD_KUBE_SUBNET_MGR": "T"}, [], "kube"),
        ({"FLANNELD_KUBE_SUBNET_MGR": "false"}, [], "etcd"),
        ({"FLANNELD_KUBE_SUBNET_MGR": ""}, [], "etcd"),
        ({"FLANNELD_KUBE_SUBNET_MGR": "true"}, ["--kube-subnet-mgr=false"], "etcd"),
        ({"FLANNELD_KUBE_SUBNET_MGR": "true"}, ["--store", "kept"], "kept"),
    ],
)
def test_flannelds_flag_chooses_the_kube_store(
    environ: Mapping[str, str], words: list[str], store: str
) -> None:
    args = parsed(environ, *words)
    assert args.store == store
    assert args.installed_store.name == store


@pytest.mark.parametrize(
    ("environ", "words", "said"),
    [
        (
            {},
            ["--kube-subnet-mgr", "--store", "etcd"],
            "--kube-subnet-mgr means --store kube: --store etcd is another",
        ),
        (
            {},
            ["--kube-subnet-mgr=perhaps"],
            "--kube-subnet-mgr has to be true or false, not 'perhaps'",
        ),
        (
            {"FLANNELD_KUBE_SUBNET_MGR": "perhaps"},
            [],
            "FLANNELD_KUBE_SUBNET_MGR has to be true or false, not 'perhaps'",
        ),
    ],
)
def test_what_cannot_be_meant_is_one_sentence_and_help_works_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environ: Mapping[str, str],
    words: list[str],
    said: str,
) -> None:
    for variable, text in environ.items():
        monkeypatch.setenv(variable, text)
    assert main(["daemon", *words]) == 2
    assert capsys.readouterr().err == f"flannel-sdk: {said}\n"
    assert main(["daemon", *words, "--help"]) == 0
    assert "--kube-subnet-mgr [BOOL]" in capsys.readouterr().out


def test_help_names_the_variables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["daemon", "--store", "kept", "--help"]) == 0
    out = capsys.readouterr().out
    assert "  host=HOST  ($ACME_HOST)\n" in out
    assert "--acme-eager [EAGER]" in out
    assert "FLANNELD_ETCD_ENDPOINTS" in out


def test_nobody_but_the_daemon_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLANNELD_ACME_EAGER", "true")
    monkeypatch.setenv("FLANNELD_KUBE_SUBNET_MGR", "true")
    made: object = open_store("kept", {})
    assert vars(made)["eager"] is False
    for command, store in ((daemon, "kube"), (config, "etcd")):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        command.add_chosen_arguments(parser, [])
        assert parser.get_default("store") == store
