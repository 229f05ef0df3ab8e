"""The backend's own options; all others are the program's."""

import shutil
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import BackendOptions

_OURS = {"command", "timeout"}
_KEY = "Backend.Command"


class Options(NamedTuple):
    """What the network's configuration says about this backend."""

    argv: Sequence[str]
    """The program and its arguments."""
    timeout: int
    """Seconds of silence, where an answer is due, after which the program counts as hanging."""
    others: Mapping[str, object]
    """What the program is given, with keys as they were written."""

    @property
    def name(self) -> str:
        """What to call the program in messages."""
        text = self.argv[-1] if self.argv[:2] == ("sh", "-c") else self.argv[0]
        return text if len(text) <= 60 else f"{text[:57]}..."

    @classmethod
    def read(cls, options: BackendOptions) -> Self:
        """ConfigError, whose key names the option, for one that is wrong."""
        return cls(
            _argv(options.get("Command")),
            options.integer("Timeout", 30, minimum=1, maximum=3600),
            {key: value for key, value in options.values.items() if key.casefold() not in _OURS},
        )


def _argv(value: object) -> Sequence[str]:
    if value is None or value in ("", []):
        raise ConfigError(
            _KEY,
            "Backend.Command of the network configuration is missing: name the program that makes"
            ' the data plane, such as ["/usr/local/bin/my-backend"].',
        )
    if isinstance(value, str):
        value = ["sh", "-c", value]
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ConfigError(
            _KEY, "Backend.Command of the network configuration has to be a list of strings."
        )
    if any("\0" in word for word in value) or not value[0].strip() or not value[-1].strip():
        raise ConfigError(_KEY, "Backend.Command of the network configuration is no command.")
    if shutil.which(value[0]) is None:
        raise ConfigError(
            _KEY,
            f"Backend.Command of the network configuration names the program {value[0]!r}, which"
            " this node cannot run: install it, or give its whole path.",
        )
    return tuple(value)
