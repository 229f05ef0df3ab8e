"""Flags and variables of an options class: declared for argparse, and read into the class."""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar

from flannel_sdk.agent.typed_options import TypedOption, converted, described, filled
from flannel_sdk.cli.wrong_usage import as_wrong_usage
from flannel_sdk.errors import ConfigError

OptionsT = TypeVar("OptionsT")
_DESTINATION = "flag_"


class ArgumentHolder(Protocol):
    """A parser, or a group of one."""

    def add_argument(
        self,
        *name_or_flags: str,
        action: str,
        dest: str,
        metavar: str,
        help: str,
        nargs: str | None,
        const: str | None,
    ) -> argparse.Action:
        """As argparse's."""
        ...


def declare(holder: ArgumentHolder, option: TypedOption, destination: str) -> None:
    """Declare the flag of ``option``; the texts it is given are a list in ``destination``."""
    assert option.flag is not None
    short = [f"-{option.flag}"] if len(option.flag) == 1 else []
    holder.add_argument(
        *short,
        f"--{option.flag}",
        action="append",
        dest=destination,
        metavar=option.metavar,
        help=option_help(option).replace("%", "%%"),
        nargs=None if option.bare is None else "?",
        const=option.bare,
    )


def option_help(option: TypedOption) -> str:
    """Its help with its default, and whether it can be given several times."""
    default = option.default
    if isinstance(default, bool):
        default = str(default).lower()
    elif isinstance(default, float):
        default = f"{default / option.unit:g}"
    notes = [f"default: {default}"] if default not in (None, "", ()) else []
    notes += ["repeatable"] if option.repeated else []
    return f"{option.help} ({', '.join(notes)})" if notes else option.help


def declare_options(holder: ArgumentHolder, options_type: type) -> None:
    """Declare all flags of an options class."""
    for option in described(options_type):
        if option.flag is not None:
            declare(holder, option, _destination(option.flag))


def told_options(
    options_type: type[OptionsT], args: argparse.Namespace, environ: Mapping[str, str]
) -> OptionsT:
    """The options that the command line gives, else the environment, else their defaults.

    A variable gives one value, also where a flag may be repeated, and an empty one none. WrongUsage
    names the flag or the variable that is wrong.
    """
    variables: dict[str, str] = {}

    def tell(option: TypedOption) -> Iterable[object]:
        assert option.flag is not None
        assert option.variable is not None
        given: list[str] | None = getattr(args, _destination(option.flag))
        if given is not None:
            return [converted(option, f"--{option.flag}", text) for text in given]
        if text := environ.get(option.variable):
            variables[option.flag] = option.variable
            return [converted(option, option.variable, text)]
        return [] if option.default is None else [option.default]

    with as_wrong_usage(), _naming(variables):
        return filled(options_type, tell)


@contextmanager
def _naming(variables: Mapping[str, str]) -> Iterator[None]:
    """A ConfigError about a flag that nobody typed names the variable."""
    try:
        yield
    except ConfigError as error:
        variable = variables.get(error.key)
        if variable is None:
            raise
        raise ConfigError(variable, f"{variable}: {error}") from error


def _destination(flag: str) -> str:
    return _DESTINATION + flag.replace("-", "_")
