"""What tells wrong usage, which ends the program with code 2, from what is wrong elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from flannel_sdk.errors import ConfigError, FlannelError


class WrongUsage(ConfigError):
    """A command line, or a variable, that cannot be meant."""


def exit_code(error: FlannelError) -> int:
    """What a program ends with because of an error of ours."""
    return 2 if isinstance(error, WrongUsage) else 1


@contextmanager
def as_wrong_usage() -> Iterator[None]:
    """A ConfigError about what somebody typed, or put into a variable, is wrong usage."""
    try:
        yield
    except WrongUsage:
        raise
    except ConfigError as error:
        raise WrongUsage(error.key, str(error)) from error
