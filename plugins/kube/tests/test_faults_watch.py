"""Watches on the real server over what breaks them: nothing lost, nothing twice, few requests."""

import asyncio
import time

import pytest
from flannel_sdk_kube import node_api
from flannel_sdk_kube.client import KubeClient
from flannel_sdk_kube.options import KubeOptions

from flannel_sdk.errors import StoreUnavailable
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.proxy import OpenProxy
from plugins.kube.tests.apiserver import ApiServer
from plugins.kube.tests.node_objects import node
from plugins.kube.tests.watching import watching

pytestmark = pytest.mark.server

ADDRESS = "flannel.alpha.coreos.com/public-ip"


async def _add(server: ApiServer, *names: str) -> None:
    for name in names:
        await asyncio.to_thread(
            server.control.add_node, name, "10.0.1.0/24", annotations={ADDRESS: "192.0.2.1"}
        )


async def _readdress(server: ApiServer, name: str, address: str) -> None:
    await asyncio.to_thread(server.control.annotate, name, {ADDRESS: address})


async def test_a_node_made_again_is_removed_and_added(apiserver: ApiServer) -> None:
    await _add(apiserver, "a")
    async with watching(apiserver.kubeconfig()) as (_, watched):
        await watched.until("a")
        first = watched.nodes["a"]
        await asyncio.to_thread(apiserver.control.delete_node, "a")
        await _add(apiserver, "a")
        await watched.until_told("-a", "+a")
        assert watched.nodes["a"].uid != first.uid


async def test_pages_hold_what_is_written_between_them(apiserver: ApiServer) -> None:
    names = [f"n{number:04d}" for number in range(1_100)]
    await asyncio.to_thread(apiserver.control.add_nodes, (node(name) for name in names))

    async def write(pages: int) -> None:
        if pages == 1:
            await asyncio.to_thread(apiserver.control.delete_node, "n1000")
            await _add(apiserver, "o0000")

    async with watching(apiserver.kubeconfig()) as (client, watched):
        client.counted.after_page = write
        await eventually(lambda: watched.snapshots, "a snapshot", 30)
        await watched.until(*names[:1000], *names[1001:], "o0000")
        assert client.counted.pages == 3
        assert watched.snapshots == 1


async def test_a_list_whose_pages_expire_begins_again(nocache_apiserver: ApiServer) -> None:
    server = nocache_apiserver
    names = [f"n{number:04d}" for number in range(600)]
    await asyncio.to_thread(server.control.add_nodes, (node(name) for name in names))

    async def forget(pages: int) -> None:
        if pages == 1:
            await _add(server, "o0000")
            await asyncio.to_thread(server.compact)

    async with watching(server.kubeconfig()) as (client, watched):
        client.counted.after_page = forget
        await watched.until(*names, "o0000")
        assert watched.snapshots == 1
        assert client.counted.pages == 3


@pytest.mark.parametrize("how", [pytest.param("restart", marks=pytest.mark.slow), "compaction"])
async def test_after_a_gap_only_differences_are_told(
    how: str,
    request: pytest.FixtureRequest,
    apiserver: ApiServer,
    nocache_apiserver: ApiServer,
    open_proxy: OpenProxy,
) -> None:
    server = apiserver if how == "restart" else nocache_apiserver
    await _add(server, "changes", "goes", "returns", "stays")
    proxy = await open_proxy(server.port)
    url = f"https://127.0.0.1:{proxy.port}"
    async with watching(server.kubeconfig(url=url)) as (client, watched):
        await watched.until("changes", "goes", "returns", "stays")
        lists = client.counted.pages
        proxy.refuse()
        await _readdress(server, "changes", "192.0.2.2")
        await asyncio.to_thread(server.control.delete_node, "goes")
        await asyncio.to_thread(server.control.delete_node, "returns")
        await _add(server, "comes", "returns")
        await asyncio.to_thread(server.control.heartbeat, "stays")
        await asyncio.to_thread(server.restart if how == "restart" else server.compact)
        proxy.heal()
        await watched.until_told("+changes", "-goes", "+comes", "-returns", "+returns")
        assert client.counted.pages == lists + 1, "the history was not gone"
        await _readdress(server, "stays", "192.0.2.3")
        await watched.until_told("+stays")
    assert watched.snapshots == 1


@pytest.mark.slow
async def test_a_killed_server_is_not_besieged_and_nothing_is_missed(
    apiserver: ApiServer, open_proxy: OpenProxy, caplog: pytest.LogCaptureFixture
) -> None:
    await _add(apiserver, "a")
    proxy = await open_proxy(apiserver.port)
    url = f"https://127.0.0.1:{proxy.port}"
    async with watching(apiserver.kubeconfig(url=url)) as (_, watched):
        await watched.until("a")
        connections = proxy.accepted
        apiserver.kill()
        begun = time.monotonic()
        await asyncio.sleep(3)
        await asyncio.to_thread(apiserver.start)
        await asyncio.to_thread(apiserver.wait_ready)
        await _add(apiserver, "b")
        await watched.until_told("+b", seconds=40)
        seconds = time.monotonic() - begun
    assert proxy.accepted - connections < 8 + seconds
    assert sum("watching nodes" in record.message for record in caplog.records) <= 4


async def test_a_server_s_clean_end_is_resumed_without_a_list(
    apiserver: ApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(node_api, "_WATCH_SECONDS", (1, 1))
    await _add(apiserver, "a")
    async with watching(apiserver.kubeconfig()) as (client, watched):
        await watched.until("a")
        lists = client.counted.pages
        for round_ in range(2):
            await client.counted.until_watched(len(client.counted.watches) + 1)
            await _readdress(apiserver, "a", f"192.0.2.1{round_}")
            await watched.until_told("+a")
        assert client.counted.pages == lists
        assert client.counted.watches[-1] != client.counted.watches[1], "the position moves on"
    assert not caplog.records


@pytest.mark.parametrize("how", ["paused", "black hole"])
async def test_a_server_that_fell_silent_is_noticed_in_time(
    how: str,
    apiserver: ApiServer,
    open_proxy: OpenProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(node_api, "SILENCE_SECONDS", 1.0)
    await _add(apiserver, "a")
    proxy = await open_proxy(apiserver.port)
    url = f"https://127.0.0.1:{proxy.port}"
    async with watching(apiserver.kubeconfig(url=url), timeout=1.0) as (client, watched):
        await watched.until("a")
        lists = client.counted.pages
        apiserver.pause() if how == "paused" else proxy.silence()
        await client.counted.until_watched(len(client.counted.watches) + 1, seconds=3)
        await eventually(lambda: caplog.records, "said, since nobody answers", 10)
        apiserver.resume() if how == "paused" else proxy.heal()
        await _readdress(apiserver, "a", "192.0.2.2")
        await watched.until_told("+a")
        assert client.counted.pages == lists


async def test_an_idle_server_is_no_trouble(
    apiserver: ApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(node_api, "SILENCE_SECONDS", 0.3)
    await _add(apiserver, "a")
    async with watching(apiserver.kubeconfig()) as (client, watched):
        await watched.until("a")
        await client.counted.until_watched(5)
        assert client.counted.pages == 1
        assert watched.told == []
    assert not caplog.records


async def test_a_cut_within_a_large_event_loses_nothing(
    apiserver: ApiServer, open_proxy: OpenProxy
) -> None:
    await _add(apiserver, "a")
    proxy = await open_proxy(apiserver.port)
    url = f"https://127.0.0.1:{proxy.port}"
    images = [{"names": [f"registry.example/{index:04d}/" + "x" * 1_000]} for index in range(1_100)]
    async with watching(apiserver.kubeconfig(url=url)) as (client, watched):
        await watched.until("a")
        watches = len(client.counted.watches)
        proxy.delay = 0.05
        await _readdress(apiserver, "a", "192.0.2.2")
        await asyncio.to_thread(apiserver.control.patch_status, "a", {"status": {"images": images}})
        await _readdress(apiserver, "a", "192.0.2.3")
        await watched.until_told("+a")
        # 64 KiB each 50 ms: the event of 1.1 MB is on its way for a second
        before = proxy.passed
        await eventually(lambda: proxy.passed > before + 200_000, "a part of it passed")
        assert watched.told == []
        proxy.cut()
        proxy.heal()
        await watched.until_told("+a")
        assert watched.nodes["a"].annotations[ADDRESS] == "192.0.2.3"
        assert len(client.counted.watches) == watches + 1


async def test_what_the_server_refuses_is_said_and_ends_nothing(apiserver: ApiServer) -> None:
    await _add(apiserver, "a")
    client = KubeClient(KubeOptions(kubeconfig=apiserver.kubeconfig()))
    try:
        with pytest.raises(StoreUnavailable, match="409 Conflict"):
            await client.patch_node_status("a", {"metadata": {"resourceVersion": "1"}})
        large = {ADDRESS: "x" * 300_000}
        with pytest.raises(StoreUnavailable, match=r"422 Invalid.*Too long"):
            await client.patch_node_status("a", {"metadata": {"annotations": large}})
        assert await client.patch_node_status("a", {}) is not None
    finally:
        await client.aclose()
