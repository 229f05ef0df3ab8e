"""The network's configuration: read, and watched."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from flannel_sdk.errors import ConfigError, ConfigMissing
from flannel_sdk.model import NetworkConfig
from flannel_sdk_etcd.decoding import shown
from flannel_sdk_etcd.keys import Keys
from flannel_sdk_etcd.records import WatchBatch
from flannel_sdk_etcd.resync import read_and_follow
from flannel_sdk_etcd.store_client import StoreClient

_log = logging.getLogger(__name__)


async def read_config(client: StoreClient, keys: Keys) -> NetworkConfig:
    """As ``SubnetManager.get_network_config``."""
    entry, _ = await client.get(keys.config)
    if entry is None:
        raise ConfigMissing(
            f"{client.name} holds no network configuration yet: there is no key"
            f" {keys.config.decode(errors='replace')}."
        )
    return NetworkConfig.parse(entry.value)


async def watch_config(client: StoreClient, keys: Keys) -> AsyncGenerator[NetworkConfig, None]:
    """As ``SupportsConfigWatch.watch_network_config``; a deletion says nothing either."""
    states = read_and_follow(
        f"watching the network configuration in {client.name}",
        lambda: client.get(keys.config),
        lambda revision: client.watch(keys.config, revision),
    )
    last: NetworkConfig | None = None
    wrong: bytes | None = None
    async with aclosing(states):
        async for state in states:
            if isinstance(state, WatchBatch):
                event = state.events[-1]
                entry = None if event.removed else event.entry
            else:
                entry = state
            if entry is None:
                continue
            try:
                config = NetworkConfig.parse(entry.value)
            except ConfigError as error:
                if entry.value != wrong:
                    text = "%s: a wrong configuration is passed over: %s"
                    _log.warning(text, client.name, shown(str(error)))
                wrong = entry.value
                continue
            if config != last:
                last = config
                yield config
