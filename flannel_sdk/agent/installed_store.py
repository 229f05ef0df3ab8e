"""An installed store: its options as people name them, and its manager made from their texts."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from flannel_sdk.errors import ConfigError, FlannelError, PluginError
from flannel_sdk.interfaces import (
    LabServer,
    SubnetManager,
    SubnetManagerPlugin,
    SupportsLabServer,
)
from flannel_sdk.model import IPAddress, Secret


@dataclass(frozen=True, slots=True)
class StoreOption:
    """One option of a store, as a plugin's dataclass describes it."""

    name: str
    """The field's; ``-`` may stand for ``_`` in it."""
    kind: object
    """Its type: bool, int, float, str, Path, Secret, or ``tuple[str, ...]`` for a comma list."""
    names: frozenset[str]
    """All that it answers to, with ``_`` for ``-``: its name, its flag and its aliases."""
    flag: str | None
    """The command-line flag for it alone, without dashes; None where there is none."""
    variable: str | None
    """The environment's variable that a daemon takes it from where nothing else says it."""
    help: str
    metavar: str
    default: object

    @property
    def is_secret(self) -> bool:
        """True where its value must not be shown."""
        return self.kind is Secret


class InstalledStore:
    """A store plugin that was found and loaded, under the name it was asked for."""

    def __init__(self, name: str, plugin: SubnetManagerPlugin[object]) -> None:
        self.name = name
        self._plugin = plugin

    def options(self) -> list[StoreOption]:
        """The plugin's options in its order; PluginError where they cannot be read."""
        with _one_sentence(f"store {self.name} has options that cannot be read"):
            return list(_described(self._plugin.options_type))

    def open(self, values: Mapping[str, str]) -> SubnetManager:
        """The manager for options given as text; no I/O. Of equal options the last counts.

        ConfigError where an option is unknown or wrong, PluginError for the plugin's own defects.
        """
        with _one_sentence(f"store {self.name} could not be opened"):
            by_name = {name: option for option in self.options() for name in option.names}
            typed: dict[str, object] = {}
            for key, text in values.items():
                option = by_name.get(key.replace("-", "_"))
                if option is None:
                    known = ", ".join(sorted({option.name for option in by_name.values()}))
                    raise ConfigError(
                        key, f"the store {self.name} has no option {key!r}: it takes {known}"
                    )
                typed[option.name] = _converted(self.name, key, option.kind, text)
            made: object = self._plugin.options_type(**typed)
            return self._plugin.open(made)

    def lab_server(
        self, values: Mapping[str, str], directory: Path, address: IPAddress
    ) -> LabServer | None:
        """As ``SupportsLabServer.lab_server``; None where the store has no such ability."""
        plugin: object = self._plugin
        if not isinstance(plugin, SupportsLabServer):
            return None
        with _one_sentence(f"store {self.name} has no server for a lab"):
            fields_by_name = {name: o.name for o in self.options() for name in o.names}
            named = {key.replace("-", "_"): text for key, text in values.items()}
            options = {fields_by_name.get(key, key): text for key, text in named.items()}
            return plugin.lab_server(options, directory, address)

    def without_secrets(self, values: Mapping[str, str]) -> dict[str, str]:
        """``values`` for showing and keeping: those of secret options are left out."""
        secret = {name for option in self.options() if option.is_secret for name in option.names}
        return {key: text for key, text in values.items() if key.replace("-", "_") not in secret}


def find_store(name: str) -> InstalledStore:
    """The installed store called ``name``; PluginError where it cannot be loaded."""
    from flannel_sdk.engine.discovery import load_store_plugin

    return InstalledStore(name, load_store_plugin(name))


def open_store(name: str, values: Mapping[str, str]) -> SubnetManager:
    """The installed store called ``name``, opened with options given as text; no I/O.

    PluginError where the store cannot be loaded or opened, ConfigError where an option is unknown
    or wrong.
    """
    return find_store(name).open(values)


def flag_variable(flag: str) -> str:
    """The variable that flanneld reads where the flag is not given: ``FLANNELD_ETCD_PREFIX``."""
    return "FLANNELD_" + flag.upper().replace("-", "_")


def truth(key: str, text: str) -> bool:
    """What a flag of flanneld's makes of a text, and yes and no; ConfigError for another text."""
    known = {"true": True, "t": True, "1": True, "yes": True}
    known |= {"false": False, "f": False, "0": False, "no": False}
    try:
        return known[text.lower()]
    except KeyError:
        raise ConfigError(key, f"{key} has to be true or false, not {text!r}") from None


@contextmanager
def _one_sentence(subject: str) -> Iterator[None]:
    """Around a plugin's code: what it raises by mistake becomes a PluginError."""
    from flannel_sdk.engine.discovery import in_one_line

    try:
        yield
    except FlannelError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{subject}: {in_one_line(error)}") from error


def _described(options_type: type) -> Iterator[StoreOption]:
    hints = get_type_hints(options_type)
    for option in fields(options_type):
        told: Mapping[str, Any] = option.metadata
        flag: str | None = told.get("flag")
        aliases: Iterable[str] = told.get("aliases", ())
        names = (option.name, *([flag] if flag else []), *aliases)
        variable = flag_variable(flag) if flag else told.get("env")
        kind = _plain_kind(hints[option.name])
        yield StoreOption(
            option.name,
            kind,
            frozenset(name.replace("-", "_") for name in names),
            flag,
            variable,
            str(told.get("help", "")),
            str(told.get("metavar", option.name.upper())),
            None if kind is Secret else _default(option),
        )


def _plain_kind(hint: object) -> object:
    """The first of several kinds that is not None, which is what a text is made into."""
    if get_origin(hint) in {Union, UnionType}:
        return next(kind for kind in get_args(hint) if kind is not NoneType)
    return hint


def _default(option: "Field[Any]") -> object:
    return None if option.default is MISSING else option.default


def _converted(store: str, key: str, kind: object, text: str) -> object:
    """``text`` as the kind of an option; a secret's text is in no sentence."""
    if kind is Secret:
        return Secret(text)
    if kind is Path:
        return Path(text)
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        return _read_plain(kind, key, text)
    except ConfigError as error:
        raise ConfigError(key, f"{store}: {error}") from error.__cause__


def _read_plain(kind: object, key: str, text: str) -> object:
    if kind is bool:
        return truth(key, text)
    if kind not in {int, float}:
        return text
    try:
        return int(text) if kind is int else float(text)
    except ValueError as error:
        raise ConfigError(key, f"{key} has to be a number, not {text!r}") from error
