"""Fixtures of the etcd tests: a shared server, fresh ones, certificates, proxies."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from plugins.etcd.tests import servers
from plugins.etcd.tests.certificates import Authority
from plugins.etcd.tests.proxy import OpenProxy, Proxy
from plugins.etcd.tests.servers import Cluster, Setup, StartEtcd


@pytest.fixture(scope="session")
def _no_orphans() -> None:
    servers.remove_orphans()


@pytest.fixture(scope="session")
def etcd(_no_orphans: None) -> Iterator[Cluster]:
    """One etcd for all cheap tests, without users or TLS. Do not stop, compact or fill it."""
    cluster = servers.start_cluster(Setup())
    yield cluster
    cluster.release()


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test uses, in flannel's form."""
    return f"/test-{uuid4().hex[:12]}/network"


@pytest.fixture
def start_etcd(_no_orphans: None) -> Iterator[StartEtcd]:
    """Starts fresh clusters, which the test may break; they end with it."""
    started: list[Cluster] = []

    def start(setup: Setup) -> Cluster:
        started.append(servers.start_cluster(setup))
        return started[-1]

    yield start
    for cluster in started:
        cluster.release()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that the tests' servers and clients are of."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def wrong_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another CA, of which nothing that is used is."""
    return Authority(tmp_path_factory.mktemp("wrong-authority"), "wrong-ca")


@pytest.fixture(scope="session")
def tls_etcd(_no_orphans: None, authority: Authority) -> Iterator[Cluster]:
    """A shared etcd with TLS; clients need no certificate."""
    cluster = servers.start_cluster(
        Setup(tls=authority.server(label="shared-server"), control=authority.trust)
    )
    yield cluster
    cluster.release()


@pytest.fixture(scope="session")
def mtls_etcd(_no_orphans: None, authority: Authority) -> Iterator[Cluster]:
    """A shared etcd with TLS that wants a certificate of ``authority`` from clients."""
    cluster = servers.start_cluster(
        Setup(
            tls=authority.server(label="shared-mtls-server"),
            client_ca=authority.ca,
            control=authority.client(label="control"),
        )
    )
    yield cluster
    cluster.release()


@pytest.fixture
async def open_proxy() -> AsyncIterator[OpenProxy]:
    """Opens proxies to a port: ``proxy = await open_proxy(etcd.member.port)``."""
    async with AsyncExitStack() as stack:

        async def open_one(port: int) -> Proxy:
            return await stack.enter_async_context(Proxy(port))

        yield open_one
