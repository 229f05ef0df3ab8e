"""EtcdSubnetManager: flannel's leases and configuration on an etcd v3 cluster."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from flannel_sdk.closing import Closing
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
from flannel_sdk_etcd.config_watch import read_config, watch_config
from flannel_sdk_etcd.keys import Keys
from flannel_sdk_etcd.lease_watch import watch_lease, watch_leases
from flannel_sdk_etcd.leasing import Leasing
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.store_client import StoreClient

if TYPE_CHECKING:
    from flannel_sdk_etcd.transport import Transport

LEASE_TTL = 86400
"""Seconds: flannel's, for every lease."""

_LAST_WRITES_SECONDS = 2.0
"""That closing waits for what is being written and revoked: else etcd leases are left over."""


class EtcdSubnetManager:
    """SubnetManager over one etcd cluster.

    SupportsConfigWatch, SupportsConfigWrite and SupportsLastHeard.

    Any number of nodes, flanneld's among them, share a prefix. Close it with ``async with`` or
    ``aclose``. It belongs to the event loop that it is first used in, and does not survive a fork.
    """

    def __init__(
        self,
        options: EtcdOptions,
        *,
        lease_ttl: int = LEASE_TTL,
        transport: "Transport | None" = None,
        client: StoreClient | None = None,
    ) -> None:
        """No I/O; ConfigError if an option is wrong.

        ``lease_ttl``: seconds that a lease lasts without a renewal; 86400 wherever flanneld takes
        part. ``transport`` and ``client`` replace gRPC, and all that talks to etcd.
        """
        if lease_ttl < 1:
            raise ConfigError("lease_ttl", f"lease_ttl is {lease_ttl} and has to be above 0.")
        self._client = client or _connect(options, transport)
        self._keys = Keys(options.prefix)
        self._leasing = Leasing(self._client, self._keys, lease_ttl)
        self._acquiring = asyncio.Lock()
        self._writers = 0
        self._nobody_writes = asyncio.Event()
        self._nobody_writes.set()
        self._closing = Closing()
        self.name = self._client.name

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def get_network_config(self) -> NetworkConfig:
        """See SubnetManager."""
        self._refuse_closed()
        return await read_config(self._client, self._keys)

    async def put_network_config(self, document: str) -> NetworkConfig:
        """See SupportsConfigWrite. OutcomeUnknown: it may have been stored; store it again."""
        config = NetworkConfig.parse(document)
        self._refuse_closed()
        await self._client.put(self._keys.config, document.encode())
        return config

    async def acquire_lease(self, attrs: LeaseAttrs, previous: Subnets | None = None) -> Lease:
        """See SubnetManager."""
        async with self._writing(), self._acquiring:
            self._refuse_closed()
            config = await read_config(self._client, self._keys)
            return await self._leasing.acquire(config, attrs, previous)

    async def renew_lease(self, lease: Lease) -> Lease:
        """See SubnetManager."""
        async with self._writing():
            return await self._leasing.renew(lease)

    def watch_lease(self, lease: Lease) -> AsyncGenerator[LeaseState, None]:
        """See SubnetManager."""
        grants = self._leasing.grants
        return self._closing.until_closed(watch_lease(self._client, self._keys, lease, grants))

    def watch_leases(self) -> AsyncGenerator[LeaseSnapshot | LeaseDelta, None]:
        """See SubnetManager. Of others' leases the expiry is not asked for: UNKNOWN_EXPIRY."""
        return self._closing.until_closed(watch_leases(self._client, self._keys))

    def watch_network_config(self) -> AsyncGenerator[NetworkConfig, None]:
        """See SupportsConfigWatch."""
        return self._closing.until_closed(watch_config(self._client, self._keys))

    def last_heard(self) -> float | None:
        """See SupportsLastHeard; a server that is silent is asked every few seconds."""
        return self._client.last_heard()

    async def aclose(self) -> None:
        """See SubnetManager."""
        if not self._closing.is_closed:
            self._closing.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WRITES_SECONDS):
                    await self._nobody_writes.wait()
                    await self._leasing.grants.settle()
        await self._client.aclose()

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """Closing waits for the block."""
        self._refuse_closed()
        self._writers += 1
        self._nobody_writes.clear()
        try:
            yield
        finally:
            self._writers -= 1
            if not self._writers:
                self._nobody_writes.set()

    def _refuse_closed(self) -> None:
        if self._closing.is_closed:
            raise StoreUnavailable(f"{self.name} is closed.")


def _connect(options: EtcdOptions, transport: "Transport | None") -> StoreClient:
    from flannel_sdk_etcd.client import EtcdClient

    return EtcdClient(options, transport)
