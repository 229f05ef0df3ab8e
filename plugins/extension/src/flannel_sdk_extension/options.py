"""The backend's options: flannel's commands, as text for ``sh`` or as a list of words."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import NamedTuple, Self

from flannel_sdk.errors import ConfigError
from flannel_sdk.interfaces import BackendContext
from flannel_sdk.model import Family, NetworkConfig
from flannel_sdk.toolkit import underlay_mtu

VARIABLES = ("NETWORK", "IPV6NETWORK", "SUBNET", "IPV6SUBNET", "PUBLIC_IP", "PUBLIC_IPV6")
"""What a command is told in its environment; a family that is not there is not set."""


class Command(NamedTuple):
    """One command of the configuration."""

    key: str
    """As people know it: ``Backend.SubnetAddCommand``."""
    words: tuple[str, ...]
    """The program and its arguments."""
    is_shell: bool
    """True where the last word is a script, in which the shell itself replaces the variables."""

    def argv(self, variables: Mapping[str, str | None]) -> Sequence[str]:
        """What is run; a list's words have ``$SUBNET`` and ``${SUBNET}`` replaced, ``$$`` is $."""
        if self.is_shell:
            return self.words
        values = {name: variables.get(name) or "" for name in VARIABLES}
        return [Template(word).safe_substitute(values) for word in self.words]


class Options(NamedTuple):
    """What the network's configuration says about this backend."""

    pre_startup: Command | None
    post_startup: Command | None
    subnet_add: Command | None
    subnet_remove: Command | None
    shutdown: Command | None
    """Never run; see the README."""
    timeout: int
    """Seconds that a command may take."""
    parallel: int
    """How many peers' commands may run at once."""
    repeat: int
    """Seconds until a peer's SubnetAddCommand is run again although it worked; 0: never."""
    state_file: Path | None
    """Where to remember the peers for which commands were run, over restarts."""
    mtu: int
    """Bytes, for the pods."""

    @classmethod
    def read(cls, config: NetworkConfig, context: BackendContext) -> Self:
        """ConfigError, whose key names the option, for one that is wrong."""
        options = config.backend_options
        least_mtu = 1280 if Family.IPV6 in config.pools.families else 68
        names = ("PreStartup", "PostStartup", "SubnetAdd", "SubnetRemove", "Shutdown")
        pre, post, add, remove, shutdown = (
            _command(f"{name}Command", options.get(f"{name}Command")) for name in names
        )
        return cls(
            pre,
            post,
            add,
            remove,
            shutdown,
            timeout=options.integer("Timeout", 30, minimum=1, maximum=3600),
            parallel=options.integer("Parallel", 1, minimum=1, maximum=64),
            repeat=options.integer("Repeat", 0, maximum=86400),
            state_file=_state_file(options.text("StateFile", None)),
            mtu=underlay_mtu(context, options.integer("MTU", None, minimum=least_mtu)),
        )


def _command(name: str, value: object) -> Command | None:
    """None where it is not given, as in flannel also by an empty text."""
    key = f"Backend.{name}"
    if value is None or value == "":
        return None
    if isinstance(value, str):
        if not value.strip():
            raise ConfigError(key, f"{key} of the network configuration is blank: leave it out.")
        return Command(key, ("sh", "-c", _clean(key, value)), True)
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ConfigError(
            key, f"{key} of the network configuration has to be a string or a list of strings."
        )
    if not value or not value[0]:
        raise ConfigError(
            key, f"{key} of the network configuration names no program: its list starts with one."
        )
    words = tuple(_clean(key, word) for word in value)
    if shutil.which(words[0]) is None:
        raise ConfigError(
            key,
            f"{key} of the network configuration names the program {words[0]!r}, which is not on"
            " this node's PATH: install it, or give its whole path.",
        )
    return Command(key, words, False)


def _state_file(text: str | None) -> Path | None:
    if not text:
        return None
    path = Path(_clean("Backend.StateFile", text))
    if not path.is_absolute() or not path.name:
        raise ConfigError(
            "Backend.StateFile",
            "Backend.StateFile of the network configuration has to be the whole path of a file.",
        )
    return path


def _clean(key: str, text: str) -> str:
    if "\0" in text:
        raise ConfigError(key, f"{key} of the network configuration has a NUL character in it.")
    return text
