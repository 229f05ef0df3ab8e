"""Reading a watch of nodes in tests: what it told so far, and what it asked the server for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from flannel_sdk_kube.client import KubeClient
from flannel_sdk_kube.node_api import EventBatches, NodeApi
from flannel_sdk_kube.node_client import NodeDelta, NodeEntry, NodeSnapshot
from flannel_sdk_kube.options import KubeOptions
from flannel_sdk_kube.slimming import Page

from flannel_sdk.testing.waiting import eventually


class Watched:
    """What a watch told: the nodes as they follow from it, and each change as a word."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeEntry] = {}
        self.told: list[str] = []
        """``+name`` for each changed, ``-name`` for each removed node after the snapshot."""
        self.snapshots = 0

    def take(self, item: NodeSnapshot | NodeDelta) -> None:
        if isinstance(item, NodeSnapshot):
            self.snapshots += 1
            self.nodes = {node.name: node for node in item.nodes}
            return
        for node in item.removed:
            assert self.nodes.pop(node.name) == node, "not as it was last known"
            self.told.append(f"-{node.name}")
        for node in item.changed:
            before = self.nodes.get(node.name)
            assert before is None or not before.is_same(node), f"{node.name} did not change"
            self.nodes[node.name] = node
            self.told.append(f"+{node.name}")

    async def until(self, *names: str, seconds: float = 30.0) -> None:
        """Return when exactly these nodes are known."""
        await eventually(lambda: set(self.nodes) == set(names), f"nodes {names}", seconds)

    async def until_told(self, *words: str, seconds: float = 30.0) -> None:
        """Return when this was told since the last call; AssertionError if else was."""
        count = len(words)
        try:
            await eventually(lambda: len(self.told) >= count, f"told {words}", seconds)
        finally:
            told, self.told = self.told[:count], self.told[count:]
        assert sorted(told) == sorted(words)


class CountedNodes(NodeApi):
    """NodeApi that keeps what it was asked for; ``after_page`` runs after each page."""

    def __init__(self, of: NodeApi) -> None:
        self.__dict__.update(of.__dict__)
        self.pages = 0
        self.watches: list[str | None] = []
        """The revision that each began at."""
        self.after_page: Callable[[int], Awaitable[None]] | None = None

    async def page(self, selector: str | None, rest: str) -> Page:
        page = await super().page(selector, rest)
        self.pages += 1
        if self.after_page is not None:
            await self.after_page(self.pages)
        return page

    @asynccontextmanager
    async def watch(
        self, selector: str | None, revision: str | None
    ) -> AsyncIterator[EventBatches]:
        self.watches.append(revision)
        async with super().watch(selector, revision) as batches:
            yield batches

    async def until_watched(self, count: int, seconds: float = 20.0) -> None:
        """Return when so many watches have been begun."""
        await eventually(lambda: len(self.watches) >= count, f"{count} watches", seconds)


class CountedClient(KubeClient):
    """KubeClient whose calls for nodes are counted."""

    def __init__(self, options: KubeOptions) -> None:
        super().__init__(options)
        self.counted = CountedNodes(self._nodes)
        self._nodes = self.counted


@asynccontextmanager
async def watching(
    kubeconfig: Path, timeout: float = 10.0
) -> AsyncIterator[tuple[CountedClient, Watched]]:
    """A client and what its watch of all nodes tells, read in the background from now on."""
    client = CountedClient(KubeOptions(kubeconfig=kubeconfig, timeout=timeout))
    watched = Watched()

    async def read() -> None:
        async with aclosing(client.watch_nodes()) as items:
            async for item in items:
                watched.take(item)

    reader = asyncio.create_task(read())
    try:
        yield client, watched
    finally:
        # a watch that ended is a failure to be seen; one that goes on ends with its client
        await client.aclose()
        await reader
