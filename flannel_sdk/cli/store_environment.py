"""What the environment says about a daemon's store: the variables that flanneld reads, too."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from flannel_sdk.agent.typed_options import TypedOption
from flannel_sdk.errors import ConfigError


class EnvironmentValue(NamedTuple):
    """What one variable says about one option."""

    variable: str
    text: str


def environment_values(
    options: Iterable[TypedOption], given: Iterable[str], environ: Mapping[str, str]
) -> dict[str, EnvironmentValue]:
    """By the options' names: what ``environ`` says and none of the names ``given`` does.

    An empty variable is as good as none.
    """
    named = {name.replace("-", "_") for name in given}
    return {
        option.name: EnvironmentValue(option.variable, text)
        for option in options
        if option.variable is not None
        and (text := environ.get(option.variable))
        and option.names.isdisjoint(named)
    }


@contextmanager
def naming_variables(values: Mapping[str, EnvironmentValue]) -> Iterator[None]:
    """A ConfigError about one of these names the variable, for nobody typed the option."""
    try:
        yield
    except ConfigError as error:
        value = values.get(error.key)
        if value is None:
            raise
        raise ConfigError(value.variable, f"{value.variable}: {error}") from error
