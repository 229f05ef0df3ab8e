"""The options of the extension backend: both forms of a command, a sentence for each mistake."""

import pytest
from flannel_sdk_extension.options import Command, Options

from flannel_sdk.errors import ConfigError
from flannel_sdk.interfaces import BackendContext
from flannel_sdk.model import ByFamily, ExternalInterface
from tests.overlay import V4, V6, config

CONTEXT = BackendContext(ExternalInterface("eth0", 2, 1400, ByFamily(), ByFamily()), None)


def read(**values: object) -> Options:
    return Options.read(config("extension", V4, **values), CONTEXT)


def test_nothing_has_to_be_given() -> None:
    options = read(PreStartupCommand="", ShutdownCommand=None)
    nothing = (None, None, None, None, None)
    assert options == Options(*nothing, 30, 1, 0, None, mtu=1400)


def test_d31_a_text_is_the_shells() -> None:
    options = read(subnetaddcommand="echo '$SUBNET' | cat && true")
    assert options.subnet_add is not None
    argv = options.subnet_add.argv({"SUBNET": "10.5.2.0/24"})
    assert argv == ("sh", "-c", "echo '$SUBNET' | cat && true")


def test_the_words_of_a_list_have_the_variables_replaced() -> None:
    command = Command("key", ("ip", "${SUBNET}/$PUBLIC_IPV6", "$HOME $$", "$"), False)
    assert command.argv({"SUBNET": "10.5.2.0/24"}) == ["ip", "10.5.2.0/24/", "$HOME $", "$"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("  \n", "is blank: leave it out"),
        (7, "has to be a string or a list of strings"),
        (["ip", 7], "has to be a string or a list of strings"),
        ([], "names no program"),
        ([""], "names no program"),
        (["no-such-program-here", "x"], "'no-such-program-here', which is not on this node's PATH"),
        ("echo \0", "NUL"),
    ],
)
@pytest.mark.parametrize("name", ["PreStartupCommand", "SubnetAddCommand", "ShutdownCommand"])
def test_d31_what_is_no_command_is_said_in_a_sentence(
    name: str, value: object, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**{name: value})
    assert caught.value.key == f"Backend.{name}"
    assert problem in str(caught.value)
    assert f"Backend.{name}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Timeout", "Parallel"])
def test_numbers_have_bounds(name: str) -> None:
    for value in (0, 10**6, "5"):
        with pytest.raises(ConfigError) as caught:
            read(**{name: value})
        assert caught.value.key == f"Backend.{name}"


@pytest.mark.parametrize("path", ["peers", "/", "/run/a\0b", 7])
def test_the_state_file_is_a_whole_path(path: object) -> None:
    with pytest.raises(ConfigError) as caught:
        read(StateFile=path)
    assert caught.value.key == "Backend.StateFile"
    assert "\0" not in str(caught.value)


def test_the_mtu_is_never_more_than_the_interfaces(caplog: pytest.LogCaptureFixture) -> None:
    assert read(MTU=1300).mtu == 1300
    assert read(MTU=9000).mtu == 1400
    assert "eth0 carries 1400 bytes only" in caplog.text
    with pytest.raises(ConfigError, match="between 1280"):
        Options.read(config("extension", V6, MTU=1000), CONTEXT)
