"""The frame: help that teaches, suggestions, exit codes, and no module but the one asked for."""

import argparse
import subprocess
import sys
import types

import pytest

from flannel_sdk import __version__
from flannel_sdk.cli import COMMANDS, Command, main
from flannel_sdk.errors import ConfigError, FlannelError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A command called ``try`` whose ``run`` the test replaces."""
    module = types.ModuleType("a_command")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--number", type=int)

    module.__dict__.update(add_arguments=add_arguments, run=lambda args: 0)
    monkeypatch.setitem(sys.modules, "a_command", module)
    monkeypatch.setitem(COMMANDS, "try", Command("a_command", "try it"))
    return module


def raising(error: BaseException) -> dict[str, object]:
    def run(args: argparse.Namespace) -> int:
        raise error

    return {"run": run}


def test_help_names_every_command_and_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in out
        assert command.help in out
    assert "examples:" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"flannel-sdk {__version__}\n"


def test_no_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage:" in captured.err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("plugin", "no such command: plugin; did you mean plugins?"),
        ("zzzz", "no such command: zzzz; try flannel-sdk --help"),
        ("--zzzz", "no such option: --zzzz; try flannel-sdk --help"),
    ],
)
def test_an_unknown_command(capsys: pytest.CaptureFixture[str], typed: str, said: str) -> None:
    assert main([typed]) == 2
    assert capsys.readouterr().err == f"flannel-sdk: {said}\n"


def test_the_command_gets_its_arguments_and_name(command: types.ModuleType) -> None:
    seen: list[argparse.Namespace] = []

    def run(args: argparse.Namespace) -> int:
        seen.append(args)
        return 7

    command.__dict__["run"] = run
    assert main(["try", "--number", "5"]) == 7
    assert seen == [argparse.Namespace(number=5, command="try")]


@pytest.mark.parametrize("arguments", [["try", "--help"], ["help", "try"]])
def test_help_of_a_command(
    capsys: pytest.CaptureFixture[str], command: types.ModuleType, arguments: list[str]
) -> None:
    assert main(arguments) == 0
    assert "--number" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["try", "--number", "x"], ["try", "--num", "5"]])
def test_a_wrong_argument_is_wrong_usage(command: types.ModuleType, arguments: list[str]) -> None:
    assert main(arguments) == 2


def test_an_error_of_ours_is_one_sentence(
    capsys: pytest.CaptureFixture[str], command: types.ModuleType
) -> None:
    command.__dict__.update(raising(ConfigError("Network", "Network is missing")))
    assert main(["try"]) == 1
    assert capsys.readouterr().err == "flannel-sdk: Network is missing\n"


def test_errors_of_a_task_group_are_a_sentence_each(
    capsys: pytest.CaptureFixture[str], command: types.ModuleType
) -> None:
    inner = ExceptionGroup("inner", [FlannelError("two")])
    command.__dict__.update(raising(ExceptionGroup("outer", [FlannelError("one"), inner])))
    assert main(["try"]) == 1
    assert capsys.readouterr().err == "flannel-sdk: one\nflannel-sdk: two\n"


def test_a_mistake_of_ours_is_not_hidden(command: types.ModuleType) -> None:
    group = ExceptionGroup("mixed", [FlannelError("one"), ValueError("a bug")])
    command.__dict__.update(raising(group))
    with pytest.raises(ExceptionGroup):
        main(["try"])


def test_an_interrupt(command: types.ModuleType) -> None:
    command.__dict__.update(raising(KeyboardInterrupt()))
    assert main(["try"]) == 130


def test_a_reader_that_goes_away_is_quiet() -> None:
    """The script does nothing but ``sys.exit(main())``, like the installed one."""
    program = subprocess.Popen(
        [sys.executable, "-m", "flannel_sdk.cli", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    program.stdout.close()
    _, err = program.communicate(timeout=20)
    assert err == b""
    assert program.returncode == 141


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plugins", "--help"]])
def test_only_what_is_asked_for_is_imported(arguments: list[str]) -> None:
    script = f"""
import sys
from flannel_sdk.cli import COMMANDS, main
assert main({arguments!r}) == 0
asked = {{COMMANDS[name].module for name in {arguments!r} if name in COMMANDS}}
others = {{command.module for command in COMMANDS.values()}} - asked
loaded = others | {{"rich", "pyroute2", "stevedore", "sqlite3", "asyncio"}}
print(sorted(loaded & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stderr == "[]\n"
