"""Calls to a scripted API server: what is sent, what is retried, what is said of failures."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from flannel_sdk_kube import KubeOptions
from flannel_sdk_kube.client import KubeClient
from flannel_sdk_kube.node_client import NodeSnapshot

from flannel_sdk.errors import ConfigError, FlannelError, StoreUnavailable
from plugins.kube.tests.client.scripted_api import (
    PREFIX,
    Answer,
    ScriptedApi,
    a_node,
    bookmark,
    document,
    hang,
    page,
    refuse,
    stream,
    text,
)

pytestmark = pytest.mark.slow


@asynccontextmanager
async def connected(
    *answers: Answer,
    timeout: float = 5.0,
    node_name: str | None = None,
    pod: tuple[str, str] | tuple[None, None] = (None, None),
) -> AsyncIterator[tuple[ScriptedApi, KubeClient]]:
    """A client of a server with these answers, without credentials."""
    async with ScriptedApi(*answers) as api:
        options = KubeOptions(
            api_url=api.url,
            timeout=timeout,
            node_name=node_name,
            pod_namespace=pod[0],
            pod_name=pod[1],
        )
        client = KubeClient(options)
        try:
            yield api, client
        finally:
            await client.aclose()


async def _failure(*answers: Answer, timeout: float = 5.0) -> FlannelError:
    async with connected(*answers, timeout=timeout) as (_, client):
        with pytest.raises(FlannelError) as caught:
            await client.get_node("a")
        return caught.value


async def test_a_node_is_read_by_name() -> None:
    async with connected(document(a_node("a", 7)), refuse(404, "NotFound")) as (api, client):
        node = await client.get_node("a")
        assert node is not None
        assert (node.name, node.uid, node.revision) == ("a", "uid-of-a", "7")
        assert node.pod_cidrs == ("10.0.1.0/24",)
        assert node.annotations == {f"{PREFIX}public-ip": "192.0.2.1"}
        assert await client.get_node("../pods") is None
    assert api.asked[0].path == "/api/v1/nodes/a"
    assert api.asked[0].headers["Accept"] == "application/json"
    assert "Authorization" not in api.asked[0].headers


async def test_a_patch_is_a_strategic_merge_of_the_status() -> None:
    patch = {"metadata": {"annotations": {f"{PREFIX}public-ip": "192.0.2.2", "gone": None}}}
    async with connected(document(a_node("a", 8)), refuse(404, "NotFound")) as (api, client):
        node = await client.patch_node_status("a", patch)
        assert node is not None
        assert node.revision == "8"
        assert await client.patch_node_status("a", patch) is None
    asked = api.asked[0]
    assert (asked.method, asked.path) == ("PATCH", "/api/v1/nodes/a/status")
    assert asked.headers["Content-Type"] == "application/strategic-merge-patch+json"
    assert json.loads(asked.body) == patch


@pytest.mark.parametrize(("code", "reason"), [(409, "Conflict"), (422, "Invalid"), (500, "X")])
async def test_a_refused_patch_says_why(code: int, reason: str) -> None:
    async with connected(refuse(code, reason, "the reason")) as (_, client):
        with pytest.raises(StoreUnavailable, match=r"patch nodes/status.*the reason"):
            await client.patch_node_status("a", {})


async def test_a_server_that_asks_to_wait_is_waited_for() -> None:
    busy = refuse(429, "TooManyRequests", headers={"Retry-After": "1"})
    async with connected(busy, document(a_node("a", 1))) as (api, client):
        before = asyncio.get_running_loop().time()
        assert await client.get_node("a") is not None
        assert asyncio.get_running_loop().time() - before >= 1.0
    assert len(api.asked) == 2


async def test_waiting_for_a_server_is_part_of_the_time_for_a_call() -> None:
    busy = refuse(429, "TooManyRequests", headers={"Retry-After": "1"})
    async with connected(busy, hang, timeout=1.3) as (_, client):
        before = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            await client.get_node("a")
        assert asyncio.get_running_loop().time() - before < 2.0


async def test_a_wait_beyond_the_time_for_a_call_is_the_caller_s() -> None:
    busy = refuse(503, "ServiceUnavailable", "starting", {"Retry-After": "30"})
    assert "starting" in str(await _failure(busy))


async def test_a_silent_server_fails_the_call_in_time() -> None:
    error = await _failure(hang, timeout=0.2)
    assert isinstance(error, StoreUnavailable)
    assert "did not answer in time" in str(error)


async def test_an_answer_that_drips_fails_the_call_in_time() -> None:
    drops = [part for _ in range(200) for part in (b"x", 0.05)]
    async with connected(stream(*drops), timeout=0.5) as (_, client), asyncio.timeout(3.0):
        with pytest.raises(StoreUnavailable, match=r"get nodes: .* did not answer in time"):
            await client.get_node("a")


async def test_nobody_there_is_said_and_may_heal() -> None:
    async with ScriptedApi() as api:
        pass
    client = KubeClient(KubeOptions(api_url=api.url))
    with pytest.raises(StoreUnavailable, match="connection was refused; is it running"):
        await client.get_node("a")
    await client.aclose()


async def test_a_name_without_an_address_is_said() -> None:
    client = KubeClient(KubeOptions(api_url="http://no-such-host.invalid:1"))
    with pytest.raises(StoreUnavailable, match="its name has no address"):
        await client.get_node("a")
    await client.aclose()


@pytest.mark.parametrize(
    ("answer", "saying"),
    [
        (text("<html>login</html>"), "no JSON"),
        (text("<html>no</html>", 404), "it answers 404"),
        (text("", 302), "redirection"),
        (document({"kind": "Pod"}), "no node"),
        (document({"metadata": {"name": "", "resourceVersion": "1"}}), "no node"),
        (text("[]", content_type="application/json"), "no JSON object"),
    ],
)
async def test_another_server_is_a_wrong_address(answer: Answer, saying: str) -> None:
    error = await _failure(answer)
    assert isinstance(error, ConfigError)
    assert error.key == "api_url"
    assert "is no Kubernetes API server" in str(error)
    assert saying in str(error)


async def test_another_server_behind_an_address_that_was_right_may_heal() -> None:
    async with connected(document(a_node("a", 1)), text("<html>maintenance</html>")) as (_, client):
        await client.get_node("a")
        with pytest.raises(StoreUnavailable, match="no Kubernetes API server"):
            await client.get_node("a")


async def test_http_to_a_port_of_https_is_named() -> None:
    said = text("Client sent an HTTP request to an HTTPS server.\n", 400, "text/plain")
    error = await _failure(said)
    assert isinstance(error, ConfigError)
    assert "its URL says http" in str(error)


async def test_https_to_a_port_of_http_is_named() -> None:
    async with ScriptedApi() as api:
        client = KubeClient(KubeOptions(api_url=api.url.replace("http:", "https:")))
        with pytest.raises(ConfigError, match="speaks http there, and its URL says https"):
            await client.get_node("a")
        await client.aclose()


async def test_a_lack_of_permission_names_verb_resource_and_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = 'nodes "a" is forbidden: User "jane" cannot patch resource "nodes/status"'
    forbidden = refuse(403, "Forbidden", message)
    async with connected(forbidden, forbidden, forbidden) as (_, client):
        with pytest.raises(StoreUnavailable, match="user jane patch nodes/status"):
            await client.patch_node_status("a", {})
        monkeypatch.setattr("flannel_sdk_kube.outcomes.REFUSAL_SECONDS", 0.0)
        with pytest.raises(ConfigError, match="verb 'patch' on the resource 'nodes/status'"):
            await client.patch_node_status("a", {})


async def test_a_permission_that_was_there_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flannel_sdk_kube.outcomes.REFUSAL_SECONDS", 0.0)
    forbidden = refuse(403, "Forbidden", "no")
    async with connected(document(a_node("a", 1)), forbidden) as (_, client):
        await client.get_node("a")
        with pytest.raises(StoreUnavailable, match="get nodes"):
            await client.get_node("a")


async def test_a_lack_of_permission_for_the_first_write_of_an_old_client_may_heal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flannel_sdk_kube.outcomes.REFUSAL_SECONDS", 0.0)
    refused = refuse(403, "Forbidden")
    async with connected(document(a_node("a", 1)), refused, refused) as (_, client):
        await client.get_node("a")
        with pytest.raises(ConfigError, match=r"let .* patch nodes/status"):
            await client.patch_node_status("a", {})
        monkeypatch.setattr("flannel_sdk_kube.outcomes.STARTING_SECONDS", 0.0)
        with pytest.raises(StoreUnavailable, match=r"let .* patch nodes/status"):
            await client.patch_node_status("a", {})


async def test_no_credentials_where_some_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flannel_sdk_kube.outcomes.REFUSAL_SECONDS", 0.0)
    error = await _failure(refuse(401, "Unauthorized", "Unauthorized"))
    assert isinstance(error, ConfigError)
    assert "does not accept a client without credentials (give a kubeconfig)" in str(error)


async def test_the_node_is_found_by_the_pod() -> None:
    pod = document({"kind": "Pod", "spec": {"nodeName": "n1"}})
    unscheduled = document({"kind": "Pod", "spec": {}})
    here = "kube-flannel", "flannel-x"
    missing = refuse(404, "NotFound")
    async with connected(pod, unscheduled, missing, pod=here) as (api, client):
        assert await client.node_name() == "n1"
        with pytest.raises(StoreUnavailable, match="kube-flannel/flannel-x is not on a node"):
            await client.node_name()
        with pytest.raises(ConfigError, match="There is no pod kube-flannel/flannel-x"):
            await client.node_name()
    assert api.asked[0].path == "/api/v1/namespaces/kube-flannel/pods/flannel-x"


async def test_a_node_name_of_the_options_is_not_asked_for() -> None:
    async with connected(node_name="n7") as (api, client):
        assert await client.node_name() == "n7"
        assert not api.asked
    async with connected() as (api, client):
        with pytest.raises(ConfigError, match="NODE_NAME"):
            await client.node_name()


async def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with connected(document(a_node("a", 1))) as (_, client):
        assert await client.get_node("a") is not None


async def test_a_closed_client_says_so_and_ends_its_watches() -> None:
    start = page(a_node("a", 1), revision=5)
    async with connected(refuse(422, "Invalid"), start, stream()) as (api, client):
        async with aclosing(client.watch_nodes()) as items:
            assert isinstance(await anext(items), NodeSnapshot)
            waiting = asyncio.create_task(anext(items, None))
            await api.wait_asked(3)
            await client.aclose()
            assert await waiting is None
            assert [item async for item in client.watch_nodes()] == []
        with pytest.raises(StoreUnavailable, match="closed"):
            await client.get_node("a")
        await client.aclose()


def test_options_that_name_no_server() -> None:
    with pytest.raises(ConfigError, match="no pod of a cluster"):
        KubeClient(KubeOptions())


def test_names() -> None:
    ipv6 = KubeOptions(service_host="fd00::1", service_port=6443)
    assert KubeClient(ipv6).name == "kube:https://[fd00::1]:6443"
    assert KubeClient(KubeOptions(kubeconfig=Path("/k"))).name == "kube:/k"
    assert KubeClient(KubeOptions(api_url="http://h:1/")).name == "kube:http://h:1"


async def test_each_answer_is_a_sign_of_life_and_a_bookmark_too() -> None:
    answers = (document(a_node("a", 1)), stream(bookmark(2, end=True), bookmark(3), hold=True))
    async with connected(*answers) as (_, client):
        assert client.last_heard() is None
        await client.get_node("a")
        first = client.last_heard()
        assert first is not None
        async with aclosing(client.watch_nodes()) as nodes:
            await anext(nodes)
            heard = client.last_heard()
            assert heard is not None
            assert heard > first
