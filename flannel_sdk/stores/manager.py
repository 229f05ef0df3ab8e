"""The subnet manager of both embedded stores: the contract's methods over a Storage."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from random import Random
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
from flannel_sdk.stores.table import Reader, Storage, Wakeups

log = logging.getLogger(__name__)
T = TypeVar("T")

_LONGEST_WAIT = 3600.0
"""Seconds after which an expiry is looked at again: the wall clock may have been set."""
_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 0.1, 5.0


class EmbeddedSubnetManager:
    """SubnetManager, SupportsConfigWrite and SupportsConfigWatch over one table.

    Several managers, in several processes where the storage allows it, may share the table. An
    expired entry is deleted by whichever of them sees it first; watches see to it on time.
    """

    def __init__(self, name: str, storage: Storage, ttl: float) -> None:
        self.name = name
        self.storage = storage
        self._ttl = ttl
        self._rng = Random()
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
        self._refuse_closed()
        return await self.storage.write(
            lambda table: acquire(
                table, attrs, previous, store=self.name, ttl=self._ttl, rng=self._rng
            )
        )

    async def renew_lease(self, lease: Lease) -> Lease:
        """See SubnetManager."""
        self._refuse_closed()
        return await self.storage.write(lambda table: renew(table, lease, self._ttl))

    async def watch_lease(self, lease: Lease) -> AsyncGenerator[LeaseState, None]:
        """See SubnetManager."""
        last: LeaseState | None = None
        async with aclosing(self._readings(lambda table: own_state(table, lease))) as states:
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

        async with aclosing(self._readings(look)) as readings:
            async for epoch, item in readings:
                cursor = (epoch, item.revision)
                if isinstance(item, LeaseSnapshot) or _says_something(item):
                    yield item

    async def watch_network_config(self) -> AsyncGenerator[NetworkConfig, None]:
        """See SupportsConfigWatch."""
        document: str | None = None
        last: NetworkConfig | None = None
        async with aclosing(self._readings(lambda table: table.config())) as documents:
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

    async def _readings(self, look: Callable[[Reader], T]) -> AsyncGenerator[T, None]:
        """What ``look`` gives now, and again whenever the table may have changed; ends by aclose.

        Heals StoreUnavailable with back-off; StoreCorrupt ends it.
        """
        failures = 0
        while not self._closed.is_set():
            try:
                async with self.storage.wakeups() as wakeups:
                    while not self._closed.is_set():
                        found, due = await self.storage.read(
                            lambda table: (look(table), table.next_expiry())
                        )
                        failures = 0
                        yield found
                        await self._wait(wakeups, due)
            except StoreUnavailable as error:
                if self._closed.is_set():
                    return
                if not failures:
                    log.warning("%s: a watch is interrupted, and tried again: %s", self.name, error)
                await self._pause(min(_FIRST_BACK_OFF * 2**failures, _LONGEST_BACK_OFF))
                failures = min(failures + 1, 16)

    async def _wait(self, wakeups: Wakeups, due: float | None) -> None:
        """Wait for a change, or for the next expiry, which is then carried out."""
        if due is None:
            await wakeups.wait(None)
            return
        await wakeups.wait(min(max(due - time.time(), 0.0), _LONGEST_WAIT))
        if not self._closed.is_set() and time.time() >= due:
            await self.storage.write(lambda table: table.delete_expired(time.time()))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    def _refuse_closed(self) -> None:
        if self._closed.is_set():
            raise StoreUnavailable(f"{self.name} is closed.")


def _says_something(item: LeaseDelta) -> bool:
    return bool(item.changed or item.removed or item.malformed)
