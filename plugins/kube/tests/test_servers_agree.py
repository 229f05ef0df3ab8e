"""The same is seen of an old server, a current one and the scripted one: it does not drift."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from flannel_sdk_kube.client import KubeClient
from flannel_sdk_kube.node_client import NodeDelta, NodeSnapshot
from flannel_sdk_kube.options import KubeOptions

from plugins.kube.tests.api_control import Json, listed, mapping
from plugins.kube.tests.apiserver import ApiServer
from plugins.kube.tests.fake_api import FakeApi

pytestmark = pytest.mark.server

STEM = "flannel.alpha.coreos.com/"


class Server:
    """What the tests do to any of the three."""

    def __init__(self, of: ApiServer | FakeApi) -> None:
        self._of = of

    def options(self) -> KubeOptions:
        if isinstance(self._of, FakeApi):
            return KubeOptions(api_url=self._of.url)
        return KubeOptions(kubeconfig=self._of.kubeconfig())

    async def put(self, name: str, *cidrs: str, note: str = "") -> None:
        """Create it with an annotation of flannel's."""
        notes = {f"{STEM}public-ip": note}
        if isinstance(self._of, FakeApi):
            await self._of.put(name, *cidrs, annotations=notes)
        else:
            control = self._of.control
            await asyncio.to_thread(control.add_node, name, *cidrs, annotations=notes)

    async def remove(self, name: str) -> None:
        if isinstance(self._of, FakeApi):
            await self._of.remove(name)
        else:
            await asyncio.to_thread(self._of.control.delete_node, name)

    async def node(self, name: str) -> Json:
        if isinstance(self._of, FakeApi):
            return self._of.nodes[name]
        return await asyncio.to_thread(self._of.control.get_node, name)


@pytest.fixture(
    scope="session",
    params=["_shared_apiserver", "_shared_nodeapi", "fake", "fake without watch-list"],
)
def _kind(request: pytest.FixtureRequest) -> ApiServer | str:
    kind = str(request.param)
    return request.getfixturevalue(kind) if kind.startswith("_") else kind


@pytest.fixture
async def server(_kind: ApiServer | str) -> AsyncIterator[Server]:
    if isinstance(_kind, ApiServer):
        yield Server(_kind)
        _kind.restore()
    else:
        async with FakeApi(watch_list=_kind == "fake") as fake:
            yield Server(fake)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[KubeClient]:
    made = KubeClient(server.options())
    yield made
    await made.aclose()


async def test_nodes_are_told_once_and_then_their_changes(
    server: Server, client: KubeClient
) -> None:
    await server.put("a", "10.0.1.0/24", note="1")
    await server.put("b", "10.0.2.0/24", "fd00:2::/64", note="2")
    async with asyncio.timeout(30), aclosing(client.watch_nodes()) as items:
        first = await anext(items)
        assert isinstance(first, NodeSnapshot)
        known = {node.name: node for node in first.nodes}
        assert {name: node.pod_cidrs for name, node in known.items()} == {
            "a": ("10.0.1.0/24",),
            "b": ("10.0.2.0/24", "fd00:2::/64"),
        }
        assert known["a"].annotations == {f"{STEM}public-ip": "1"}

        # a condition is nothing to a lease: what is told next is the annotation
        condition = {"type": "NetworkUnavailable", "status": "False"}
        await client.patch_node_status("a", {"status": {"conditions": [condition]}})
        patched = await client.patch_node_status(
            "b", {"metadata": {"annotations": {f"{STEM}public-ip": None, f"{STEM}x": "3"}}}
        )
        assert patched is not None
        delta = await anext(items)
        assert isinstance(delta, NodeDelta)
        assert [(node.name, node.annotations) for node in delta.changed] == [
            ("b", {f"{STEM}x": "3"})
        ]
        assert delta.changed[0] == patched
        assert delta.revision > first.revision

        await server.remove("a")
        delta = await anext(items)
        assert isinstance(delta, NodeDelta)
        assert ([node.name for node in delta.removed], delta.changed) == (["a"], [])


async def test_conditions_of_others_stay(server: Server, client: KubeClient) -> None:
    await server.put("a", "10.0.1.0/24")
    condition = {"type": "NetworkUnavailable", "status": "False"}
    await client.patch_node_status("a", {"status": {"conditions": [condition]}})
    status = mapping((await server.node("a"))["status"])
    kinds = {one["type"] for one in listed(status, "conditions")}
    assert kinds == {"Ready", "NetworkUnavailable"}


async def test_what_is_not_there_is_none(server: Server, client: KubeClient) -> None:
    assert await client.get_node("not-there") is None
    assert await client.patch_node_status("not-there", {}) is None


async def test_one_node_is_watched_by_its_name(server: Server, client: KubeClient) -> None:
    await server.put("other")
    async with asyncio.timeout(30), aclosing(client.watch_node("a")) as states:
        assert await anext(states) is None
        await server.put("a", "10.0.1.0/24")
        made = await anext(states)
        assert made is not None
        assert made.pod_cidrs == ("10.0.1.0/24",)
        await server.remove("a")
        assert await anext(states) is None
