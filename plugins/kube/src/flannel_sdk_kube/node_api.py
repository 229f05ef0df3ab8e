"""The API server's resources that the store uses, as calls: nodes, and the own pod."""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from typing import Final, Protocol
from urllib.parse import quote

from flannel_sdk_kube.api import ApiClient, Request
from flannel_sdk_kube.failures import CallFailed, Failure, Purpose
from flannel_sdk_kube.node_client import NodeEntry
from flannel_sdk_kube.slimming import Event, NotFromAPIServer, Page, Slimmer, pod_node_name

PAGE_SIZE: Final = 500
SILENCE_SECONDS: Final = 100.0
"""Without a byte, after which a watch is resumed: an idle server sends none for hours."""
INITIAL_SILENCE_SECONDS: Final = 30.0
_WATCH_SECONDS: Final = (240, 480)

_NODES: Final = "/api/v1/nodes"
_STRATEGIC: Final = "application/strategic-merge-patch+json"

GET_NODE: Final = Purpose("get", "nodes")
LIST_NODES: Final = Purpose("list", "nodes")
WATCH_NODES: Final = Purpose("watch", "nodes")
PATCH_STATUS: Final = Purpose("patch", "nodes/status")
GET_POD: Final = Purpose("get", "pods")

EventBatches = AsyncGenerator[list[Event], None]


class NodeSource(Protocol):
    """What a reflector is fed from. Every failure is a CallFailed or a ConfigError."""

    async def page(self, selector: str | None, rest: str) -> Page:
        """The first page of a consistent list, or with ``rest`` the one after."""
        ...

    async def newest(self) -> str:
        """The resourceVersion that the API server has reached."""
        ...

    def watch(
        self, selector: str | None, revision: str | None
    ) -> AbstractAsyncContextManager[EventBatches]:
        """Events after ``revision``; with None all objects first, up to ``ends_initial``."""
        ...


class NodeApi:
    """Nodes of one API server; a NodeSource."""

    def __init__(self, api: ApiClient, stem: str) -> None:
        self._api = api
        self._slimmer = Slimmer(stem)

    async def get(self, name: str) -> NodeEntry:
        """One node; NOT_FOUND if there is none."""
        body = await self._api.call(Request(GET_NODE, f"{_NODES}/{quote(name, safe='')}"))
        with self._decoding(GET_NODE):
            return self._slimmer.node(body)

    async def patch_status(self, name: str, patch: Mapping[str, object]) -> NodeEntry:
        """The node after a strategic merge patch of its status subresource; NOT_FOUND if gone."""
        body = await self._api.call(
            Request(
                PATCH_STATUS,
                f"{_NODES}/{quote(name, safe='')}/status",
                method="PATCH",
                body=patch,
                content_type=_STRATEGIC,
            )
        )
        with self._decoding(PATCH_STATUS):
            return self._slimmer.node(body)

    async def node_of_pod(self, namespace: str, pod: str) -> str:
        """The name of the node that a pod is on; empty before it is on one."""
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}"
        body = await self._api.call(Request(GET_POD, path))
        with self._decoding(GET_POD):
            return pod_node_name(body)

    async def page(self, selector: str | None, rest: str) -> Page:
        """See NodeSource."""
        query = {"limit": str(PAGE_SIZE)} | _selected(selector)
        if rest:
            query["continue"] = rest
        return await self._listed(query)

    async def newest(self) -> str:
        """See NodeSource."""
        return (await self._listed({"limit": "1"})).revision

    async def _listed(self, query: Mapping[str, str]) -> Page:
        body = await self._api.call(Request(LIST_NODES, _NODES, query, is_long=True))
        with self._decoding(LIST_NODES):
            return self._slimmer.page(body)

    @asynccontextmanager
    async def watch(
        self, selector: str | None, revision: str | None
    ) -> AsyncIterator[EventBatches]:
        """See NodeSource."""
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(random.randint(*_WATCH_SECONDS)),
        } | _selected(selector)
        silence = SILENCE_SECONDS
        if revision is None:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            silence = INITIAL_SILENCE_SECONDS
        else:
            query["resourceVersion"] = revision
        async with (
            self._api.stream(Request(WATCH_NODES, _NODES, query), silence) as lines,
            aclosing(lines),
        ):
            yield self._events(lines)

    async def _events(self, lines: AsyncGenerator[list[bytes], None]) -> EventBatches:
        async for batch in lines:
            events: list[Event] = []
            try:
                with self._decoding(WATCH_NODES):
                    events.extend(map(self._slimmer.event, batch))
            except CallFailed:
                yield events  # what came before is good
                raise
            yield events

    @contextmanager
    def _decoding(self, purpose: Purpose) -> Iterator[None]:
        """Around the decoding of an answer, which shows whether it is one."""
        try:
            yield
        except NotFromAPIServer as error:
            detail = f"what it answers cannot be read: {error}"
            failed = CallFailed(Failure.OTHER_SERVER, detail, in_stream=True)
            failed.purpose = purpose
            raise failed from error
        self._api.outcomes.worked(purpose)


def _selected(selector: str | None) -> dict[str, str]:
    return {} if selector is None else {"fieldSelector": selector}
