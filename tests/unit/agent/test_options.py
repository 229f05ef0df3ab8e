"""An agent's options are checked when made, and a store's are made from text."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flannel_sdk.agent import AgentOptions, open_store
from flannel_sdk.agent.installed_store import find_store
from flannel_sdk.errors import ConfigError, PluginError
from flannel_sdk.model import Secret

HOUR = 3600.0


@pytest.mark.parametrize("margin", [0.0, -1.0, 24 * HOUR, float("nan"), float("inf")])
def test_a_renewal_margin_that_cannot_be_is_refused(margin: float) -> None:
    with pytest.raises(ConfigError, match="more than 0 and less than 1440") as caught:
        AgentOptions(renew_margin=margin)
    assert caught.value.key == "subnet-lease-renew-margin"


def test_margins_within_a_day_and_no_files_by_default() -> None:
    assert AgentOptions(renew_margin=24 * HOUR - 1).renew_margin == 24 * HOUR - 1
    assert AgentOptions(renew_margin=0.001).subnet_file is None
    assert AgentOptions().status_socket is None


@dataclass
class Options:
    path: str
    folder: Path = Path("/")
    retries: int = 1
    wait_seconds: float | None = None
    read_only: bool = False
    label: str | None = None
    members: tuple[str, ...] = field(default=(), metadata={"flag": "acme-members"})
    key: Secret | None = field(default=None, metadata={"aliases": ("api-key", "token_text")})


class Plugin:
    """Opens nothing: gives its options."""

    options_type = Options

    def open(self, options: object) -> object:
        return options


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flannel_sdk.engine.discovery.load_store_plugin", lambda _: Plugin())


@pytest.mark.usefixtures("plugin")
def test_texts_become_values_of_each_fields_type() -> None:
    values = {
        "path": "7",
        "folder": "/x",
        "retries": "3",
        "wait-seconds": "0.5",
        "read_only": "Yes",
        "label": "",
    }
    made: object = open_store("kept", values)
    assert made == Options("7", Path("/x"), 3, 0.5, True, "")


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("FALSE", False), ("0", False), ("no", False)]
)
def test_a_truth_is_written_in_several_ways(text: str, value: bool) -> None:
    made: object = open_store("kept", {"path": "x", "read-only": text})
    assert isinstance(made, Options)
    assert made.read_only is value


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("retries", "many", "kept: retries has to be a number, not 'many'"),
        ("retries", "1.5", "kept: retries has to be a number, not '1.5'"),
        ("wait-seconds", "", "kept: wait-seconds has to be a number, not ''"),
        ("read-only", "maybe", "kept: read-only has to be true or false, not 'maybe'"),
        (
            "speed",
            "1",
            "the store kept has no option 'speed': it takes folder, key, label, members, path, ",
        ),
    ],
)
def test_a_wrong_text_and_an_unknown_option_are_named(key: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("kept", {"path": "x", key: text})
    assert str(caught.value).startswith(said)


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("text", "members"),
    [("a,b", ("a", "b")), (" a , ,b,", ("a", "b")), ("", ()), ("a", ("a",))],
)
def test_a_list_is_written_with_commas(text: str, members: tuple[str, ...]) -> None:
    made: object = open_store("kept", {"path": "x", "members": text})
    assert isinstance(made, Options)
    assert made.members == members


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("name", ["key", "api-key", "api_key", "token-text"])
def test_an_option_answers_to_its_aliases_and_a_secret_does_not_print(name: str) -> None:
    made: object = open_store("kept", {"path": "x", name: "hunter2"})
    assert isinstance(made, Options)
    assert made.key == Secret("hunter2")
    assert "hunter2" not in repr(made)


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("name", ["acme-members", "acme_members", "members"])
def test_an_option_answers_to_its_flag(name: str) -> None:
    made: object = open_store("kept", {"path": "x", name: "a,b"})
    assert isinstance(made, Options)
    assert made.members == ("a", "b")


@pytest.mark.usefixtures("plugin")
def test_secrets_are_left_out_by_any_of_their_names() -> None:
    values = {"path": "x", "key": "hunter2", "api-key": "hunter2", "token_text": "hunter2"}
    assert find_store("kept").without_secrets(values) == {"path": "x"}


@pytest.mark.usefixtures("plugin")
def test_a_wrong_value_beside_a_secret_does_not_show_it() -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("kept", {"path": "x", "key": "hunter2", "retries": "many", "speed": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_an_unknown_store_is_named() -> None:
    with pytest.raises(PluginError, match="nosuch"):
        open_store("nosuch", {})


@pytest.mark.usefixtures("plugin")
def test_a_missing_option_is_one_sentence() -> None:
    with pytest.raises((ConfigError, PluginError), match="path"):
        open_store("kept", {})
