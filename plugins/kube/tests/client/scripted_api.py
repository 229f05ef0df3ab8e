"""An HTTP server that answers as a list says, in the order of the requests, and keeps them."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

from aiohttp import web

JsonObject: TypeAlias = Mapping[str, object]
Answer: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

PREFIX = "flannel.alpha.coreos.com/"


class Asked(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def question(self) -> str:
        """In one word or two what it wants."""
        if self.query.get("watch") != "1":
            return f"{self.method} {self.path.removeprefix('/api/v1/')}"
        return "initial" if "sendInitialEvents" in self.query else "watch"


class ScriptedApi:
    """An async context manager; ``url`` is where it is."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.reached = 10**9
        """The revision that it says it has reached, whenever it is asked for just that."""
        self.looked = 0
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        assert self._runner is not None
        assert self._runner.server is not None
        return len(self._runner.server.connections)

    @property
    def questions(self) -> list[str]:
        return [asked.question for asked in self.asked]

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(
            _app(self._handle), shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
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
        await self._runner.cleanup()

    async def wait_asked(self, count: int, seconds: float = 10.0) -> None:
        """Return when that many requests have come."""
        async with asyncio.timeout(seconds):
            while len(self.asked) < count:  # noqa: ASYNC110  # of another task's list
                await asyncio.sleep(0.005)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("limit") == "1":
            self.looked += 1
            return await page(revision=self.reached)(request)
        self.asked.append(
            Asked(
                request.method,
                request.path,
                dict(request.query),
                dict(request.headers),
                await request.read(),
            )
        )
        answer = self.answers.pop(0) if self.answers else hang
        return await answer(request)


def _app(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return app


async def hang(request: web.Request) -> web.StreamResponse:
    """Nothing, for ever."""
    await asyncio.Event().wait()
    raise AssertionError


def refuse(
    code: int, reason: str, message: str = "no", headers: Mapping[str, str] | None = None
) -> Answer:
    """A Status, as the API server refuses."""
    return document(status(code, reason, message), code, headers)


def document(body: JsonObject, code: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=json.dumps(body), status=code, headers=headers, content_type="application/json"
        )

    return answer


def text(body: str, code: int = 200, content_type: str = "text/html") -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text=body, status=code, content_type=content_type)

    return answer


def stream(*parts: JsonObject | bytes | float, hold: bool = True, cut: bool = False) -> Answer:
    """A watch: events as lines, bytes as they are, numbers as pauses; then hold, end, or be cut."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for part in parts:
            if isinstance(part, float):
                await asyncio.sleep(part)
            else:
                await response.write(part if isinstance(part, bytes) else line(part))
        if cut:
            assert request.transport is not None
            request.transport.abort()
        elif hold:
            await asyncio.Event().wait()
        return response

    return answer


def line(event: JsonObject) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def event(kind: str, thing: JsonObject) -> JsonObject:
    return {"type": kind, "object": thing}


def bookmark(revision: int, *, end: bool = False) -> JsonObject:
    meta: dict[str, object] = {"resourceVersion": str(revision)}
    if end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    return event("BOOKMARK", {"kind": "Node", "apiVersion": "v1", "metadata": meta})


def status(code: int, reason: str, message: str = "no") -> JsonObject:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def a_node(
    name: str,
    revision: int,
    *,
    annotations: Mapping[str, object] | None = None,
    cidrs: tuple[str, ...] = ("10.0.1.0/24",),
) -> JsonObject:
    """As the API server writes it: metadata, spec, status, in this order."""
    spec: JsonObject = {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)} if cidrs else {}
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "resourceVersion": str(revision),
            "annotations": dict(annotations or {f"{PREFIX}public-ip": "192.0.2.1"}),
        },
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def page(*nodes: JsonObject, revision: int, rest: str = "") -> Answer:
    meta = {"resourceVersion": str(revision)} | ({"continue": rest} if rest else {})
    return document({"kind": "NodeList", "apiVersion": "v1", "metadata": meta, "items": nodes})
