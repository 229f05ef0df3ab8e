"""The store's tests run on a fake cluster, and once more on a real API server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from plugins.kube.tests.apiserver import ApiServer
from plugins.kube.tests.store.site import FakeSite, Site, fake_site, real_site


@pytest.fixture(scope="session", params=["fake", pytest.param("real", marks=pytest.mark.server)])
def is_real(request: pytest.FixtureRequest) -> bool:
    """Whether ``site`` is a real one; the server is started before any test that uses it."""
    if request.param == "real":
        request.getfixturevalue("_shared_apiserver")
    return bool(request.param == "real")


@pytest.fixture
async def site(
    request: pytest.FixtureRequest, is_real: bool, tmp_path: Path
) -> AsyncIterator[Site]:
    """A cluster without nodes."""
    if not is_real:
        async with fake_site(tmp_path) as made:
            yield made
        return
    server = request.getfixturevalue("apiserver")
    assert isinstance(server, ApiServer)
    async with real_site(tmp_path, server) as real:
        yield real


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeSite]:
    """The fake one alone, for what no real one does."""
    async with fake_site(tmp_path) as made:
        yield made
