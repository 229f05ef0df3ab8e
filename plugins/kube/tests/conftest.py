"""Fixtures of the kube store's tests: a shared API server, fresh ones, certificates, proxies."""

import os
import shutil
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from plugins.etcd.tests import servers
from plugins.etcd.tests.certificates import Authority
from plugins.etcd.tests.proxy import OpenProxy, Proxy
from plugins.kube.tests import apiserver as apiservers
from plugins.kube.tests.apiserver import (
    ApiServer,
    ApiSetup,
    NodeApiServer,
    StartApiServer,
    start_apiserver,
)

REQUIRED = "KUBE_APISERVER_REQUIRED"
"""Where this variable is set, tests without a server fail instead of being skipped."""
_MISSING = "there is no kube-apiserver here: `make kube-apiserver` builds one"
_NO_NODEAPI = "there is no nodeapi here: `make kube-apiserver` builds one with Go 1.26 or newer"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell tests that lack a server as one: pytest would give each a line of its own."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason in {_MISSING, _NO_NODEAPI}:
            report.longrepr = (__file__, 1, f"Skipped: {reason}")
    return report


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that the tests' servers and clients are of."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def wrong_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another CA, of which nothing that is used is."""
    return Authority(tmp_path_factory.mktemp("wrong-authority"), "wrong-ca")


@pytest.fixture(scope="session")
def apiserver_program() -> Path:
    """The kube-apiserver that tests use; without one they are skipped."""
    servers.remove_orphans()
    apiservers.remove_orphans()
    found = apiservers.find_program(os.environ)
    if found is None and os.environ.get(REQUIRED):
        pytest.fail(f"{_MISSING} ({REQUIRED} is set)")
    if found is None:
        pytest.skip(_MISSING)
    return found


@pytest.fixture(scope="session")
def _shared_apiserver(apiserver_program: Path, authority: Authority) -> Iterator[ApiServer]:
    server = start_apiserver(ApiSetup(apiserver_program, authority))
    yield server
    server.release()


@pytest.fixture
def apiserver(_shared_apiserver: ApiServer) -> Iterator[ApiServer]:
    """A server without nodes. The test may kill, pause and restart it."""
    yield _shared_apiserver
    _shared_apiserver.restore()


@pytest.fixture(scope="session")
def _shared_nocache_apiserver(apiserver_program: Path, authority: Authority) -> Iterator[ApiServer]:
    flags = ("--watch-cache=false", "--min-request-timeout=4")
    server = start_apiserver(ApiSetup(apiserver_program, authority, flags))
    yield server
    server.release()


@pytest.fixture
def nocache_apiserver(_shared_nocache_apiserver: ApiServer) -> Iterator[ApiServer]:
    """One that watches in etcd, so that compacting is felt at once, and ends watches after 4 s."""
    yield _shared_nocache_apiserver
    _shared_nocache_apiserver.restore()


@pytest.fixture(scope="session")
def _shared_nodeapi(authority: Authority) -> Iterator[ApiServer]:
    servers.remove_orphans()
    apiservers.remove_orphans()
    found = apiservers.find_nodeapi()
    if found is None and os.environ.get(REQUIRED) and shutil.which("go"):
        pytest.fail(f"{_NO_NODEAPI} ({REQUIRED} is set)")
    if found is None:
        pytest.skip(_NO_NODEAPI)
    setup = ApiSetup(found.server, authority, etcd=found.etcd)
    server = start_apiserver(setup, NodeApiServer)
    yield server
    server.release()


@pytest.fixture
def nodeapi(_shared_nodeapi: ApiServer) -> Iterator[ApiServer]:
    """A current API server of nodes alone, with watch-list. Users have tokens alone."""
    yield _shared_nodeapi
    _shared_nodeapi.restore()


@pytest.fixture
def start_api(apiserver_program: Path, authority: Authority) -> Iterator[StartApiServer]:
    """Starts fresh servers with more flags (5 s each); they end with the test."""
    started: list[ApiServer] = []

    def start(*flags: str, host: str = "127.0.0.1") -> ApiServer:
        started.append(start_apiserver(ApiSetup(apiserver_program, authority, flags, host)))
        return started[-1]

    yield start
    for server in started:
        server.release()


@pytest.fixture
async def open_proxy() -> AsyncIterator[OpenProxy]:
    """Opens proxies to a port: ``proxy = await open_proxy(apiserver.port)``."""
    async with AsyncExitStack() as stack:

        async def open_one(port: int) -> Proxy:
            return await stack.enter_async_context(Proxy(port))

        yield open_one
