"""The store's tests run on a fake etcd, and once more on a real one."""

from collections.abc import AsyncIterator

import pytest

from plugins.etcd.tests.servers import Cluster
from plugins.etcd.tests.store.site import Site, fake_site, real_site


@pytest.fixture(scope="session", params=["fake", pytest.param("etcd", marks=pytest.mark.server)])
def kind(request: pytest.FixtureRequest) -> Cluster | None:
    """The shared server; None for the fake."""
    if request.param == "fake":
        return None
    cluster = request.getfixturevalue("etcd")
    assert isinstance(cluster, Cluster)
    return cluster


@pytest.fixture
async def site(kind: Cluster | None, prefix: str) -> AsyncIterator[Site]:
    """An empty prefix."""
    async with fake_site() if kind is None else real_site(kind, prefix) as made:
        yield made
