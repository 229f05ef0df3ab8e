"""An API server of nodes that answers as a test says: what no real one does when it is asked to.

What it says of its own accord (lists in pages, watch-list, bookmarks, status patches) is also asked
of the real servers, in test_servers_agree.py.
"""

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

from aiohttp import web

from plugins.kube.tests.api_control import Json
from plugins.kube.tests.node_objects import node

Object: TypeAlias = dict[str, object]


class Asked(NamedTuple):
    """One request that came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: object

    @property
    def kind(self) -> str:
        """``watch``, ``list``, or the method."""
        if self.path != "/api/v1/nodes" or self.method != "GET":
            return self.method.lower()
        return "watch" if self.query.get("watch") else "list"


class Refusal(NamedTuple):
    """An answer that is no success."""

    status: int
    reason: str = ""
    message: str = "scripted"
    headers: Mapping[str, str] = {}


class Stream(NamedTuple):
    """A watch's answer: pieces of bytes, one after the other."""

    pieces: Sequence[bytes]
    pause: float = 0.0
    """Seconds between two pieces."""
    end: str = "clean"
    """``clean``; ``cut``: without the end of the answer; ``hang``: open until the server closes."""


Answer: TypeAlias = Refusal | Stream


class FakeApi:
    """Plain HTTP on loopback; an async context manager.

    Requests are answered by what ``will_answer`` was told for their kind, else from ``nodes``.
    """

    def __init__(self, *, watch_list: bool = True) -> None:
        self.watch_list = watch_list
        self.nodes: dict[str, Object] = {}
        self.asked: list[Asked] = []
        self.port = 0
        self._revision = 0
        self._scripts: dict[str, deque[Answer]] = {}
        self._history: list[tuple[int, Object]] = []
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def will_answer(self, kind: str, *answers: Answer) -> None:
        """Give the next requests of a kind (``Asked.kind``) these answers, one each."""
        self._scripts.setdefault(kind, deque()).extend(answers)

    def count(self, kind: str) -> int:
        """How many requests of a kind have come."""
        return sum(asked.kind == kind for asked in self.asked)

    async def put(
        self, name: str, *pod_cidrs: str, annotations: Mapping[str, str] | None = None
    ) -> Object:
        """Create a node or replace what its kind of client reads of it."""
        made = node(name, *pod_cidrs, annotations=annotations)
        old = self.nodes.get(name)
        metadata = _part(made, "metadata")
        metadata["uid"] = _part(old, "metadata")["uid"] if old else f"uid-{name}-{self._revision}"
        await self._record("MODIFIED" if old else "ADDED", made)
        return made

    async def remove(self, name: str) -> None:
        await self._record("DELETED", self.nodes[name])

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        self._closing.set()
        async with self._changed:
            self._changed.notify_all()
        await self._runner.cleanup()

    # -- what it keeps -----------------------------------------------------------

    async def _record(self, kind: str, thing: Object) -> None:
        self._revision += 1
        # what was told before stays as it was
        thing = json.loads(json.dumps(thing))
        _part(thing, "metadata")["resourceVersion"] = str(self._revision)
        name = str(_part(thing, "metadata")["name"])
        if kind == "DELETED":
            del self.nodes[name]
        else:
            self.nodes[name] = thing
        self._history.append((self._revision, {"type": kind, "object": thing}))
        async with self._changed:
            self._changed.notify_all()

    # -- what it says ------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        asked = Asked(
            request.method,
            request.path,
            dict(request.query),
            dict(request.headers),
            json.loads(text) if text else None,
        )
        self.asked.append(asked)
        script = self._scripts.get(asked.kind)
        match script.popleft() if script else None:
            case Refusal() as refusal:
                return _status(refusal)
            case Stream() as stream:
                return await self._play(request, stream)
        if asked.kind == "watch":
            return await self._watch(request, asked)
        if asked.kind == "list":
            return self._page(asked)
        return await self._one(asked)

    async def _play(self, request: web.Request, stream: Stream) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for piece in stream.pieces:
            await response.write(piece)
            await asyncio.sleep(stream.pause)
        if stream.end == "hang":
            await self._closing.wait()
        if stream.end == "cut" and request.transport is not None:
            request.transport.abort()
        return response

    async def _watch(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        initial = asked.query.get("sendInitialEvents") == "true"
        if initial and not self.watch_list:
            words = "sendInitialEvents is forbidden for watch"
            return _status(Refusal(422, "Invalid", words))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        told = self._revision if initial else int(asked.query["resourceVersion"])
        if initial:
            for thing in self._selected(asked):
                await response.write(line("ADDED", thing))
            await response.write(bookmark(told, end=True))
        while not self._closing.is_set():
            for revision, event in self._history:
                if revision > told:
                    told = revision
                    if _is_of(_part(event, "object"), asked):
                        await response.write(json.dumps(event).encode() + b"\n")
            async with self._changed:
                while not self._closing.is_set() and self._revision <= told:
                    await self._changed.wait()
        return response

    def _page(self, asked: Asked) -> web.Response:
        selected = self._selected(asked)
        begin = int(asked.query.get("continue", "0"))
        end = begin + int(asked.query.get("limit", "0") or len(selected))
        metadata: Object = {"resourceVersion": str(self._revision)}
        if end < len(selected):
            metadata["continue"] = str(end)
        items = selected[begin:end]
        return web.json_response(
            {"kind": "NodeList", "apiVersion": "v1", "metadata": metadata, "items": items}
        )

    def _selected(self, asked: Asked) -> list[Object]:
        return [self.nodes[name] for name in sorted(self.nodes) if _is_of(self.nodes[name], asked)]

    async def _one(self, asked: Asked) -> web.Response:
        name, _, below = asked.path.removeprefix("/api/v1/nodes/").partition("/")
        found = self.nodes.get(name)
        if found is None:
            return _status(Refusal(404, "NotFound", f'nodes "{name}" not found'))
        if asked.method == "PATCH":
            assert below == "status"
            assert isinstance(asked.body, dict)
            merged: Object = json.loads(json.dumps(found))
            _merge(merged, asked.body)
            await self._record("MODIFIED", merged)
        return web.json_response(self.nodes[name])


def _is_of(thing: Object, asked: Asked) -> bool:
    name = _part(thing, "metadata")["name"]
    return asked.query.get("fieldSelector", f"metadata.name={name}") == f"metadata.name={name}"


def line(kind: str, thing: Json) -> bytes:
    """One event of a watch, with its newline."""
    return json.dumps({"type": kind, "object": thing}).encode() + b"\n"


def bookmark(revision: int, *, end: bool = False) -> bytes:
    """A BOOKMARK event; ``end``: of the initial events."""
    metadata: Object = {"resourceVersion": str(revision)}
    if end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return line("BOOKMARK", {"kind": "Node", "apiVersion": "v1", "metadata": metadata})


def error(status: int, reason: str, message: str = "scripted") -> bytes:
    """An ERROR event."""
    return line("ERROR", _status_object(Refusal(status, reason, message)))


def _status(refusal: Refusal) -> web.Response:
    return web.json_response(
        _status_object(refusal), status=refusal.status, headers=dict(refusal.headers)
    )


def _status_object(refusal: Refusal) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": refusal.message,
        "reason": refusal.reason,
        "code": refusal.status,
    }


def _part(thing: Object, name: str) -> Object:
    part = thing[name]
    assert isinstance(part, dict)
    return part


def _merge(into: Object, patch: Json) -> None:
    """Strategic merge of what the store patches: maps, and conditions by their type."""
    for name, value in patch.items():
        there = into.get(name)
        if name == "conditions":
            assert isinstance(value, list)
            assert isinstance(there, list)
            kinds = {one["type"] for one in value}
            into[name] = value + [one for one in there if one["type"] not in kinds]
        elif isinstance(value, dict):
            kept = into.setdefault(name, {})
            assert isinstance(kept, dict)
            _merge(kept, value)
        elif value is None:
            into.pop(name, None)
        else:
            into[name] = value
