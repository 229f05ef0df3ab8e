"""The flags that name a store, and what they mean to it."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import pytest

from flannel_sdk.cli import main
from flannel_sdk.cli.store_arguments import (
    NO_ENVIRONMENT,
    add_chosen_store_arguments,
    add_store_arguments,
    open_chosen_store,
    store_values,
)
from flannel_sdk.errors import ConfigError, PluginError
from flannel_sdk.model import Secret
from tests.plugin_distributions import KEPT_STORE, STORES, install

PASSWORD = "hunter2"


@pytest.fixture
def kept_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed store that gives its options when it is opened."""
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "acme-kept", {"kept": "plugin"}, source=KEPT_STORE, group=STORES)
    return "kept"


def parsed(*words: str, environ: Mapping[str, str] = NO_ENVIRONMENT) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_store_arguments(parser)
    add_chosen_store_arguments(parser, words, environ)
    return parser.parse_args(words)


def opened(*words: str) -> Mapping[str, object]:
    made: object = open_chosen_store(parsed(*words))
    return vars(made)


def test_without_options_the_store_has_its_own_defaults() -> None:
    args = parsed("--store", "sqlite")
    assert (args.store, store_values(args.store_option)) == ("sqlite", {})
    assert open_chosen_store(args).name == "sqlite:/var/lib/flannel/net.db"


def test_options_add_up_and_the_last_of_equal_keys_wins() -> None:
    args = parsed(
        *("--store", "memory", "--store-option", "path=/a", "--store-option", "ttl=1"),
        *("--store-option", "path=/b=c"),
    )
    assert args.store == "memory"
    assert store_values(args.store_option) == {"path": "/b=c", "ttl": "1"}
    assert parsed().store_option == []


def test_a_value_may_be_empty() -> None:
    assert store_values(["path="]) == {"path": ""}


@pytest.mark.parametrize("wrong", [PASSWORD, f"={PASSWORD}", ""])
def test_neither_key_nor_sign_may_be_missing(wrong: str) -> None:
    with pytest.raises(ConfigError, match="has to be KEY=VALUE") as caught:
        store_values(["ttl=1", wrong])
    assert caught.value.key == "store-option"
    assert PASSWORD not in str(caught.value), "a password whose key was forgotten"


@pytest.mark.parametrize(
    "words", [("--acme-members", "a,b"), ("--acme-members=a,b",), ("--store-option", "members=a,b")]
)
def test_a_stores_options_are_flags_too(kept_store: str, words: tuple[str, ...]) -> None:
    assert opened("--store", kept_store, *words)["members"] == ("a", "b")
    assert opened(*words, f"--store={kept_store}")["members"] == ("a", "b")


def test_a_flag_goes_before_an_option(kept_store: str) -> None:
    words = ("--acme-members", "a", "--store-option", "acme-members=b")
    assert opened("--store", kept_store, *words)["members"] == ("a",)


@pytest.mark.parametrize(
    ("words", "eager"),
    [
        ([], False),
        (["--acme-eager"], True),
        (["--acme-eager=true"], True),
        (["--acme-eager=T"], True),
        (["--acme-eager=false"], False),
        (["--acme-eager", "--acme-eager=0"], False),
        (["--store-option", "eager=yes"], True),
    ],
)
def test_a_flag_of_yes_or_no_needs_no_value(kept_store: str, words: list[str], eager: bool) -> None:
    assert opened("--store", kept_store, *words)["eager"] is eager


def test_help_shows_the_chosen_stores_options_and_no_others(
    kept_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["daemon", "--store", kept_store, "--help"]) == 0
    out = capsys.readouterr().out
    assert "  --acme-members A,B" in out
    assert "At 100%." in out
    assert "How deep. (default: 3)" in out
    assert "(default: false)" in out
    assert main(["daemon", "--help"]) == 0
    assert "--acme-members" not in capsys.readouterr().out


def test_help_works_where_the_store_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["daemon", "--store", "nosuch", "--help"]) == 0
    assert "--iface" in capsys.readouterr().out


def test_an_unknown_store_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["daemon", "--store", "nosuch"]) == 1
    assert capsys.readouterr().err.startswith("flannel-sdk: no store is called 'nosuch'")


def test_a_flag_of_another_store_is_one_sentence(
    kept_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["daemon", "--acme-password", PASSWORD, f"--acme-members={PASSWORD}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("flannel-sdk daemon: no such option: --acme-password, --acme-members (")
    assert "the store is etcd" in err
    assert err.count("\n") == 1
    assert PASSWORD not in err


def test_a_password_is_in_no_sentence_of_a_wrong_option(
    kept_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    password = ("--acme-password", PASSWORD)
    for wrong in (["--store-option", "depth=x"], ["--acme-members", "wrong"], ["--iface"], ["x"]):
        assert main(["daemon", "--store", kept_store, *password, *wrong]) in {1, 2}
        captured = capsys.readouterr()
        assert captured.err
        assert PASSWORD not in captured.err + captured.out


def test_a_flag_that_the_command_has_itself_is_the_plugins_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = KEPT_STORE.replace("acme-members", "store")
    install(tmp_path, "acme-rude", {"rude": "plugin"}, source=source, group=STORES)
    with pytest.raises(PluginError, match="store rude wants a flag that is taken: --store"):
        parsed("--store", "rude")


def test_a_password_may_be_in_a_file(kept_store: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    words = ("--store", kept_store, "--store-option-file", f"acme-password={file}")
    for text, meant in ((f"{PASSWORD}\n", PASSWORD), (" \n\n", " \n"), (PASSWORD, PASSWORD)):
        file.write_text(text)
        assert opened(*words)["password"] == Secret(meant)
    assert opened(*words, "--store-option", "password=other")["password"] == Secret(PASSWORD)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("password=/nonexistent", "password, /nonexistent, cannot be read: No such file"),
        (PASSWORD, "each --store-option-file has to be KEY=FILE"),
    ],
)
def test_a_file_that_is_none_is_one_sentence(kept_store: str, given: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        open_chosen_store(parsed("--store", kept_store, "--store-option-file", given))
    assert PASSWORD not in str(caught.value)


def test_the_last_of_an_options_names_counts(kept_store: str) -> None:
    words = ("--store", kept_store, "--store-option", "members=a")
    other = ("--store-option", "acme-members=b")
    assert opened(*words, *other)["members"] == ("b",)
    assert opened(*words, *other, "--store-option", "members=c")["members"] == ("c",)
    assert opened(*words, *other, "--acme-members", "d")["members"] == ("d",)


def test_a_lab_says_that_it_takes_no_flags_of_a_store(
    kept_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["lab", "up", "--store", kept_store, "--acme-password", PASSWORD]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "no such option: --acme-password (a store's options are given as --store-option" in err
    assert PASSWORD not in err
