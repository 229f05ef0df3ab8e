"""The store's tests run on a fake etcd, and once more on a real one."""

from collections.abc import AsyncIterator

import pytest

from plugins.etcd.tests.servers import Cluster
from plugins.etcd.tests.store.site import Site, fake_site, real_site


@pytest.fixture(params=["fake", pytest.param("etcd", marks=pytest.mark.server)])
async def site(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Site]:
    """An empty prefix."""
    if request.param == "fake":
        async with fake_site() as made:
            yield made
        return
    cluster = request.getfixturevalue("etcd")
    assert isinstance(cluster, Cluster)
    async with real_site(cluster, prefix) as made:
        yield made
