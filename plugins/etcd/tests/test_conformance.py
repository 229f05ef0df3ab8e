"""The etcd store passes the store kit on a real server, with its connections through a proxy."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest
from flannel_sdk_etcd.manager import LEASE_TTL, EtcdSubnetManager
from flannel_sdk_etcd.options import EtcdOptions

from flannel_sdk.model import Lease, LeaseAttrs, Subnets, encode_attrs, format_subnet_key
from flannel_sdk.testing import SubnetManagerConformance
from flannel_sdk.testing.store_kit import OpenHarness, StoreHarness
from plugins.etcd.tests.proxy_thread import ProxyThread, proxy_thread
from plugins.etcd.tests.servers import Cluster, Setup, start_cluster

pytestmark = pytest.mark.server
GARBAGE = "10.5.0.0-24"  # below the first subnet that is leased: no lease is ever there


class EtcdHarness:
    """One prefix; the managers' connections go through the proxy, the hand's do not."""

    def __init__(self, cluster: Cluster, proxy: ProxyThread, prefix: str) -> None:
        self.cluster = cluster
        self.control = cluster.control
        self.proxy = proxy
        self.prefix = prefix
        self.is_cut = False

    async def open(self, node: int = 1) -> EtcdSubnetManager:
        return self._open(LEASE_TTL)

    async def open_short(self, node: int, seconds: float) -> EtcdSubnetManager:
        return self._open(round(seconds))

    def _open(self, ttl: int) -> EtcdSubnetManager:
        url = self.cluster.member.url if self.is_cut else self.proxy.url()
        options = EtcdOptions(endpoints=(url,), prefix=self.prefix)
        return EtcdSubnetManager(options, lease_ttl=ttl)

    async def configure(self, document: str) -> None:
        await asyncio.to_thread(self.control.put, f"{self.prefix}/config", document)

    async def take_away(self, lease: Lease) -> None:
        await self._delete(format_subnet_key(lease.subnets))

    async def give_away(self, lease: Lease, attrs: LeaseAttrs) -> None:
        await self._put(format_subnet_key(lease.subnets), encode_attrs(attrs))

    async def reserve(self, subnets: Subnets, attrs: LeaseAttrs) -> None:
        await self._put(format_subnet_key(subnets), encode_attrs(attrs))

    async def put_garbage(self) -> None:
        await self._put(GARBAGE, b"\xffno lease")

    async def remove_garbage(self) -> None:
        await self._delete(GARBAGE)

    async def break_connections(self) -> None:
        await asyncio.to_thread(self.proxy.cut)

    async def pause_watches(self) -> None:
        self.is_cut = True  # who comes from now on goes past the proxy
        await asyncio.to_thread(self.proxy.refuse)

    async def forget_and_resume(self) -> None:
        await asyncio.to_thread(self.control.compact)
        await asyncio.to_thread(self.proxy.heal)

    def connections(self) -> int:
        return self.proxy.open_connections

    async def _put(self, name: str, value: bytes) -> None:
        await asyncio.to_thread(self.control.put, f"{self.prefix}/subnets/{name}", value)

    async def _delete(self, name: str) -> None:
        await asyncio.to_thread(self.control.delete, f"{self.prefix}/subnets/{name}")


@pytest.fixture(scope="module")
def server(_no_orphans: None) -> Iterator[Cluster]:
    """One of its own, for it is compacted."""
    cluster = start_cluster(Setup())
    yield cluster
    cluster.release()


class TestEtcd(SubnetManagerConformance):
    subnet_manager = "etcd"
    options: ClassVar[Mapping[str, str]] = {"endpoints": "http://127.0.0.1:1"}

    @pytest.fixture
    def open_harness(self, server: Cluster, prefix: str) -> Iterator[OpenHarness]:
        with proxy_thread(server.member.port) as proxy:

            @asynccontextmanager
            async def opened() -> AsyncIterator[StoreHarness]:
                yield EtcdHarness(server, proxy, prefix)

            yield opened
