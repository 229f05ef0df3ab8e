"""Puts a lab's network config into its store, through the store's own plugin."""

from pathlib import Path

from flannel_sdk.errors import ConfigError
from flannel_sdk.interfaces import SupportsConfigWrite
from flannel_sdk.lab.daemon import store_options
from flannel_sdk.lab.spec import LabSpec


async def put_network_config(spec: LabSpec, directory: Path) -> None:
    """Store the config; ConfigError if it, or an option, is wrong or the store takes none."""
    from flannel_sdk.agent.installed_store import open_store

    manager = open_store(spec.store, store_options(spec, directory))
    try:
        if not isinstance(manager, SupportsConfigWrite):
            raise ConfigError("store", f"the store {spec.store} takes no config from us")
        await manager.put_network_config(spec.network_config())
    finally:
        await manager.aclose()
