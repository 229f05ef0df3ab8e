"""The store that is judged: its plugin, and a harness for one that is installed."""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never, TypeAlias, cast

from flannel_sdk.agent.installed_store import InstalledStore
from flannel_sdk.engine.discovery import load_store_plugin
from flannel_sdk.errors import PluginError
from flannel_sdk.interfaces import SubnetManager, SubnetManagerPlugin, SupportsConfigWrite
from flannel_sdk.testing.kit.verdicts import leave_out
from flannel_sdk.testing.store_kit.harness import OpenHarness, StoreHarness

AnyStorePlugin: TypeAlias = SubnetManagerPlugin[Never]
"""A plugin with whatever options of its own."""

_SECONDS = "ttl"
"""The option by which an installed store's leases are made short, where it has it."""


_FRESH = {"path": "{folder}/store", "name": "{unique}", "prefix": "/{unique}/network"}
"""What gives each test a store of its own, where the store has such an option."""


@dataclass(frozen=True)
class StoreSubject:
    """A store and the options that it is opened with."""

    name: str
    """Its entry point."""
    given: AnyStorePlugin | None = None
    """The plugin itself; None: the one that is installed under ``name``."""
    options: Mapping[str, str] = field(default_factory=dict)
    """As ``--store-option`` takes them. ``{folder}`` in a value is an empty folder, ``{unique}`` a
    word that nothing else has. Where not given, ``path``, ``name`` and ``prefix`` are like that."""

    def load(self) -> SubnetManagerPlugin[object]:
        """The plugin; PluginError if it cannot be used."""
        if self.given is not None:
            return cast("SubnetManagerPlugin[object]", self.given)
        return load_store_plugin(self.name)

    @property
    def plugin(self) -> SubnetManagerPlugin[object]:
        """The plugin; ends the test where it does not load, for one requirement is about that."""
        try:
            return self.load()
        except PluginError:
            leave_out("the store does not load: see S001")

    @property
    def installed(self) -> InstalledStore:
        """The plugin with its options."""
        return InstalledStore(self.name, self.plugin)


class InstalledHarness:
    """A store that needs nothing but its options."""

    def __init__(self, store: InstalledStore, options: Mapping[str, str]) -> None:
        self._store = store
        self._options = options

    async def open(self, node: int = 1) -> SubnetManager:
        """See StoreHarness."""
        return self._store.open(self._options)

    async def configure(self, document: str) -> None:
        """See StoreHarness."""
        manager = await self.open()
        try:
            if not isinstance(manager, SupportsConfigWrite):
                leave_out(
                    f"{self._store.name} takes no configuration (SupportsConfigWrite): override"
                    " the fixture open_harness in a subclass of SubnetManagerConformance"
                )
            await manager.put_network_config(document)
        finally:
            await manager.aclose()

    async def check_empty(self) -> None:
        """End the test where the store holds leases already."""
        manager = await self.open()
        try:
            async with aclosing(manager.watch_leases()) as items:
                async for item in items:
                    if getattr(item, "leases", ()):
                        leave_out(
                            f"{self._store.name} holds leases already: give it a place of its own"
                            " for each test, with {folder} or {unique} in an option's value"
                        )
                    return
        finally:
            await manager.aclose()


class ExpiringHarness(InstalledHarness):
    """One with an option for the leases' time."""

    async def open_short(self, node: int, seconds: float) -> SubnetManager:
        """See CanExpire."""
        return self._store.open({**self._options, _SECONDS: f"{seconds:g}"})


def installed_harness(subject: StoreSubject, folder: Path) -> OpenHarness:
    """Opens a store as its options say."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[StoreHarness]:
        store = subject.installed
        names = {option.name for option in store.options()}
        fresh = {name: text for name, text in _FRESH.items() if name in names}
        told = {**fresh, **subject.options}
        options = {key: _filled(text, folder) for key, text in told.items()}
        expires = _SECONDS in names
        harness = (ExpiringHarness if expires else InstalledHarness)(store, options)
        await harness.check_empty()
        yield harness

    return opened


def _filled(text: str, folder: Path) -> str:
    return text.replace("{folder}", str(folder)).replace("{unique}", uuid.uuid4().hex)
