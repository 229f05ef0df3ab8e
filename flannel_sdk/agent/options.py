"""What an agent is told, as typed options: flags, variables and Python fill the same fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import get_args, get_origin, get_type_hints

from flannel_sdk.errors import ConfigError, FlannelError, PluginError
from flannel_sdk.hostnet.external_interface import InterfaceRequest
from flannel_sdk.interfaces import SubnetManager

DEFAULT_SUBNET_FILE = Path("/run/flannel/subnet.env")


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Options of one NodeAgent; every field has a default."""

    interface: InterfaceRequest = field(default_factory=InterfaceRequest)
    subnet_file: Path | None = None
    """Where subnet.env is written and the previous subnet is read; None for neither."""
    status_socket: Path | None = None
    """Where the agent answers ``flannel-sdk status``; None for nowhere."""
    renew_margin: float = 3600.0
    """Seconds before its expiry that the lease is renewed; more than 0, less than a day."""
    ip_masq: bool = False
    """What subnet.env says as FLANNEL_IPMASQ."""
    netns: str | None = None
    """Path of the network namespace to work in; None for the process's own."""

    def __post_init__(self) -> None:
        if not 0 < self.renew_margin < 86400:
            raise ConfigError(
                "subnet-lease-renew-margin",
                f"subnet-lease-renew-margin is {self.renew_margin / 60:g} minutes, "
                "but has to be more than 0 and less than 1440",
            )


def open_store(name: str, values: Mapping[str, str]) -> SubnetManager:
    """The installed store called ``name``, opened with options given as text; no I/O.

    PluginError where the store cannot be loaded or opened, ConfigError where an option is unknown
    or wrong.
    """
    from flannel_sdk.engine.discovery import in_one_line, load_store_plugin

    plugin = load_store_plugin(name)
    try:
        return plugin.open(_options(name, plugin.options_type, values))
    except FlannelError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"store {name} could not be opened: {in_one_line(error)}") from error


def _options(name: str, options_type: type, values: Mapping[str, str]) -> object:
    hints = get_type_hints(options_type)
    known = {option.name: hints[option.name] for option in fields(options_type)}
    typed: dict[str, object] = {}
    for key, text in values.items():
        option = key.replace("-", "_")
        if option not in known:
            raise ConfigError(
                key,
                f"the store {name} has no option {key!r}: it takes {', '.join(sorted(known))}",
            )
        typed[option] = _converted(f"{name}: {key}", known[option], text)
    made: object = options_type(**typed)
    return made


def _converted(what: str, kind: object, text: str) -> object:
    if get_origin(kind) is not None:
        kinds = [choice for choice in get_args(kind) if choice is not NoneType]
        kind = kinds[0] if kinds else str
    if kind is bool:
        if text.lower() in {"true", "1", "yes"}:
            return True
        if text.lower() in {"false", "0", "no"}:
            return False
        raise ConfigError(what, f"{what} has to be true or false, not {text!r}")
    try:
        if kind is int:
            return int(text)
        if kind is float:
            return float(text)
    except ValueError as error:
        raise ConfigError(what, f"{what} has to be a number, not {text!r}") from error
    return Path(text) if kind is Path else text
