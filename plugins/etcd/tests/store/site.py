"""One network in an etcd, a fake one or a real one: managers of it, and a hand on its keys."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

from flannel_sdk_etcd.keys import Keys
from flannel_sdk_etcd.manager import LEASE_TTL, EtcdSubnetManager
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.records import KeyValue
from flannel_sdk_etcd.store_client import StoreClient

from plugins.etcd.tests.fake_client import FakeClient, FakeEtcd
from plugins.etcd.tests.nodes import PREFIX
from plugins.etcd.tests.servers import Cluster


class Site:
    """Managers share the etcd, and each has a client of its own."""

    def __init__(
        self,
        options: EtcdOptions,
        connect: Callable[[], StoreClient],
        etcd_leases: Callable[[], set[int]],
        fake: FakeEtcd | None = None,
    ) -> None:
        self.keys = Keys(options.prefix)
        self.fake = fake
        self.client = connect()
        """The tests' own, past all rules of the store."""
        self._options = options
        self._connect = connect
        self._etcd_leases = etcd_leases
        self._before = etcd_leases()
        self.stack = AsyncExitStack()
        self.stack.push_async_callback(self.client.aclose)

    def open(self, ttl: int = LEASE_TTL) -> EtcdSubnetManager:
        """A manager that is closed after the test."""
        made = EtcdSubnetManager(self._options, lease_ttl=ttl, client=self._connect())
        self.stack.push_async_callback(made.aclose)
        return made

    async def configure(self, document: str | bytes) -> int:
        value = document.encode() if isinstance(document, str) else document
        return await self.client.put(self.keys.config, value)

    async def put(self, name: str | bytes, value: str | bytes, etcd_lease: int = 0) -> int:
        """Write an entry as any other program might; its revision."""
        name = name.encode() if isinstance(name, str) else name
        value = value.encode() if isinstance(value, str) else value
        key = self.keys.subnets + name
        while True:
            found, _ = await self.client.get(key)
            expected = found.mod_revision if found else 0
            commit = await self.client.put_if(key, expected, value, etcd_lease)
            if commit.done:
                return commit.revision

    async def delete(self, name: str | bytes) -> None:
        key = self.keys.subnets + (name.encode() if isinstance(name, str) else name)
        found, _ = await self.client.get(key)
        assert found is not None
        assert (await self.client.delete_if(key, found.mod_revision)).done

    async def entry(self, name: str) -> KeyValue:
        found, _ = await self.client.get(self.keys.subnets + name.encode())
        assert found is not None, name
        return found

    async def names(self) -> list[str]:
        """Below ``subnets/``, in key order."""
        async with aclosing(self.client.list(self.keys.subnets)) as pages:
            return [self.keys.name(entry.key) async for page in pages for entry in page.entries]

    @property
    def is_fake(self) -> bool:
        return self.fake is not None

    async def let_pass(self, seconds: float) -> None:
        """So much of etcd's time; of the real one's it passes by itself."""
        if self.fake is not None:
            self.fake.advance(seconds)

    async def unused_etcd_leases(self) -> set[int]:
        """Etcd leases made since the start by which no key lives."""
        made = self._etcd_leases() - self._before
        left = {lease: await self.client.lease_time(lease) for lease in made}
        return {lease for lease, time in left.items() if time is not None and not time.keys}


@asynccontextmanager
async def fake_site(etcd: FakeEtcd | None = None, page: int | None = None) -> AsyncIterator[Site]:
    store = etcd or FakeEtcd()
    site = Site(
        EtcdOptions(prefix=PREFIX),
        lambda: FakeClient(store, page),
        lambda: set(store.leases),
        store,
    )
    async with site.stack:
        yield site


@asynccontextmanager
async def real_site(cluster: Cluster, prefix: str) -> AsyncIterator[Site]:
    from flannel_sdk_etcd.client import EtcdClient

    options = EtcdOptions(endpoints=cluster.urls, prefix=prefix)
    site = Site(options, lambda: EtcdClient(options), cluster.control.leases)
    async with site.stack:
        yield site
