"""The subnet manager of both embedded stores: the contract's methods over a Storage."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from typing import TypeVar

from flannel_sdk.errors import ConfigError, StoreUnavailable
from flannel_sdk.model import (
    Lease,
    LeaseAttrs,
    LeaseDelta,
    LeaseSnapshot,
    LeaseState,
    NetworkConfig,
    Subnets,
)
from flannel_sdk.stores.leasing import (
    acquire,
    delta,
    network_config,
    own_state,
    renew,
    snapshot,
)
from flannel_sdk.stores.readings import Readings
from flannel_sdk.stores.table import Reader, Storage

log = logging.getLogger(__name__)
T = TypeVar("T")


class EmbeddedSubnetManager:
    """SubnetManager, SupportsConfigWrite and SupportsConfigWatch over one table.

    Several managers, in several processes where the storage allows it, may share the table. An
    expired entry is deleted by whichever of them sees it first; watches see to it on time.
    """

    def __init__(self, name: str, storage: Storage, ttl: float) -> None:
        self.name = name
        self.storage = storage
        self._ttl = ttl
        self._closed = asyncio.Event()

    async def get_network_config(self) -> NetworkConfig:
        """See SubnetManager."""
        self._refuse_closed()
        return await self.storage.read(lambda table: network_config(table, self.name))

    async def put_network_config(self, document: str) -> NetworkConfig:
        """See SupportsConfigWrite."""
        config = NetworkConfig.parse(document)
        self._refuse_closed()
        await self.storage.write(lambda table: table.put_config(document))
        return config

    async def acquire_lease(self, attrs: LeaseAttrs, previous: Subnets | None = None) -> Lease:
        """See SubnetManager."""
        from random import Random

        self._refuse_closed()
        return await self.storage.write(
            lambda table: acquire(
                table, attrs, previous, store=self.name, ttl=self._ttl, rng=Random()
            )
        )

    async def renew_lease(self, lease: Lease) -> Lease:
        """See SubnetManager."""
        self._refuse_closed()
        return await self.storage.write(lambda table: renew(table, lease, self._ttl))

    async def watch_lease(self, lease: Lease) -> AsyncGenerator[LeaseState, None]:
        """See SubnetManager."""
        last: LeaseState | None = None
        with closing(self._readings(lambda table: own_state(table, lease))) as states:
            async for state in states:
                if state != last:
                    last = state
                    yield state

    async def watch_leases(self) -> AsyncGenerator[LeaseSnapshot | LeaseDelta, None]:
        """See SubnetManager."""
        cursor: tuple[str, int] | None = None

        def look(table: Reader) -> tuple[str, LeaseSnapshot | LeaseDelta]:
            epoch = table.epoch()
            if cursor is None or cursor[0] != epoch:
                return epoch, snapshot(table)
            return epoch, delta(table, cursor[1])

        with closing(self._readings(look)) as readings:
            async for epoch, item in readings:
                cursor = (epoch, item.revision)
                if isinstance(item, LeaseSnapshot) or _says_something(item):
                    yield item

    async def watch_network_config(self) -> AsyncGenerator[NetworkConfig, None]:
        """See SupportsConfigWatch."""
        document: str | None = None
        last: NetworkConfig | None = None
        with closing(self._readings(lambda table: table.config())) as documents:
            async for found in documents:
                if found is None or found == document:
                    continue
                document = found
                try:
                    config = NetworkConfig.parse(found)
                except ConfigError as error:
                    log.warning("%s: a wrong configuration is passed over: %s", self.name, error)
                    continue
                if config != last:
                    last = config
                    yield config

    async def aclose(self) -> None:
        """See SubnetManager."""
        self._closed.set()
        await self.storage.aclose()

    def _readings(self, look: Callable[[Reader], T]) -> Readings[T]:
        return Readings(self.storage, self._closed, look, self.name)

    def _refuse_closed(self) -> None:
        if self._closed.is_set():
            raise StoreUnavailable(f"{self.name} is closed.")


def _says_something(item: LeaseDelta) -> bool:
    return bool(item.changed or item.removed or item.malformed or item.cleared)
