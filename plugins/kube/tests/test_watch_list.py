"""Watch-list on a current API server: the first state is streamed, or pages where it cannot be."""

import asyncio
from collections.abc import Iterator

import pytest

from plugins.etcd.tests.certificates import Authority
from plugins.etcd.tests.proxy import OpenProxy
from plugins.kube.tests import apiserver as apiservers
from plugins.kube.tests.apiserver import ApiServer, ApiSetup, NodeApiServer, start_apiserver
from plugins.kube.tests.node_objects import node, realistic_nodes
from plugins.kube.tests.watching import watching

pytestmark = pytest.mark.server

ADDRESS = "flannel.alpha.coreos.com/public-ip"


@pytest.fixture(scope="module")
def old_etcd_nodeapi(_shared_nodeapi: ApiServer, authority: Authority) -> Iterator[ApiServer]:
    """The current server on an etcd that is too old for watch-list, which it says in the stream."""
    found = apiservers.find_nodeapi()
    assert found is not None
    server = start_apiserver(ApiSetup(found.server, authority), NodeApiServer)
    yield server
    server.release()


async def test_the_first_state_is_streamed(nodeapi: ApiServer) -> None:
    names = [f"n{number:04d}" for number in range(700)]
    await asyncio.to_thread(nodeapi.control.add_nodes, (node(name) for name in names))
    async with watching(nodeapi.kubeconfig()) as (client, watched):
        await watched.until(*names)
        await asyncio.to_thread(nodeapi.control.delete_node, "n0007")
        await watched.until_told("-n0007")
        assert (client.counted.pages, client.counted.watches) == (0, [None])
        assert watched.snapshots == 1


async def test_pages_where_the_stream_is_refused_within(old_etcd_nodeapi: ApiServer) -> None:
    server = old_etcd_nodeapi
    await asyncio.to_thread(server.control.add_node, "a")
    async with watching(server.kubeconfig()) as (client, watched):
        await watched.until("a")
        assert client.counted.pages == 1
        await asyncio.to_thread(server.control.annotate, "a", {ADDRESS: "192.0.2.2"})
        await watched.until_told("+a")


async def test_a_first_state_that_is_cut_is_read_again(
    nodeapi: ApiServer, open_proxy: OpenProxy
) -> None:
    await asyncio.to_thread(nodeapi.control.add_nodes, realistic_nodes(200))
    proxy = await open_proxy(nodeapi.port)
    proxy.delay = 0.02
    url = f"https://127.0.0.1:{proxy.port}"
    async with watching(nodeapi.kubeconfig(url=url)) as (_, watched):
        async with asyncio.timeout(20):
            while proxy.passed < 400_000:  # noqa: ASYNC110  # 1.6 MB in all
                await asyncio.sleep(0.01)
        assert watched.snapshots == 0
        proxy.cut()
        proxy.heal()
        await watched.until(*(f"n{number:05d}" for number in range(200)))
        assert watched.snapshots == 1


async def test_after_a_gap_the_state_is_streamed_again(
    nodeapi: ApiServer, open_proxy: OpenProxy
) -> None:
    control = nodeapi.control
    for name in ("changes", "goes", "stays"):
        await asyncio.to_thread(control.add_node, name, annotations={ADDRESS: "192.0.2.1"})
    proxy = await open_proxy(nodeapi.port)
    url = f"https://127.0.0.1:{proxy.port}"
    async with watching(nodeapi.kubeconfig(url=url)) as (client, watched):
        await watched.until("changes", "goes", "stays")
        proxy.refuse()
        await asyncio.to_thread(control.annotate, "changes", {ADDRESS: "192.0.2.2"})
        await asyncio.to_thread(control.delete_node, "goes")
        await asyncio.to_thread(nodeapi.compact)
        await asyncio.to_thread(nodeapi.restart)
        proxy.heal()
        await watched.until_told("+changes", "-goes")
        assert watched.snapshots == 1
        assert client.counted.pages == 0
