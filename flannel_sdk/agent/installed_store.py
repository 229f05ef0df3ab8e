"""An installed store: its options as people name them, and its manager made from their texts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flannel_sdk.agent.typed_options import TypedOption, converted, described
from flannel_sdk.errors import ConfigError, FlannelError, PluginError
from flannel_sdk.interfaces import (
    LabServer,
    SubnetManager,
    SubnetManagerPlugin,
    SupportsLabServer,
)
from flannel_sdk.model import IPAddress


class InstalledStore:
    """A store plugin that was found and loaded, under the name it was asked for."""

    def __init__(self, name: str, plugin: SubnetManagerPlugin[object]) -> None:
        self.name = name
        self._plugin = plugin

    def options(self) -> list[TypedOption]:
        """The plugin's options in its order; PluginError where they cannot be read."""
        with _one_sentence(f"store {self.name} has options that cannot be read"):
            return list(described(self._plugin.options_type))

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
                typed[option.name] = _converted(self.name, option, key, text)
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


def _converted(store: str, option: TypedOption, key: str, text: str) -> object:
    try:
        return converted(option, key, text)
    except ConfigError as error:
        raise ConfigError(key, f"{store}: {error}") from error.__cause__
