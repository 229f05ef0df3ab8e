"""``/healthz``, ``/readyz`` and ``/metrics`` of one agent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from flannel_sdk.health.facts import Status
from flannel_sdk.health.http_server import Answer, serve_http
from flannel_sdk.health.listener import bind_listener
from flannel_sdk.health.options import HealthOptions
from flannel_sdk.health.pulse import Pulse
from flannel_sdk.health.readiness import problems

if TYPE_CHECKING:
    from flannel_sdk.health.exposition import Exposition


class Endpoints:
    """Answers from what the agent says of itself at the moment of the question."""

    def __init__(self, options: HealthOptions, status: Callable[[], Status]) -> None:
        self._options = options
        self._status = status
        self._exposition: Exposition | None = None
        self.pulse = Pulse()

    async def healthz(self, _: Mapping[str, str]) -> Answer:
        """200, flanneld's body. That it is answered at all is the proof: the loop runs."""
        return Answer(HTTPStatus.OK, b"flanneld is running")

    async def readyz(self, _: Mapping[str, str]) -> Answer:
        """200 and flanneld's body, or 503 and all reasons in one line."""
        reasons = problems(self._status(), self._options)
        if not reasons:
            return Answer(HTTPStatus.OK, b"flanneld is ready")
        body = f"flanneld is not ready: {'; '.join(reasons)}"
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, body.encode())

    async def metrics(self, headers: Mapping[str, str]) -> Answer:
        """Prometheus's text format, or OpenMetrics where it is asked for."""
        if self._exposition is None:
            exposition = await asyncio.to_thread(_load_exposition)
            self._exposition = exposition(self._facts)
        body, content_type = self._exposition.render(headers.get("accept", ""))
        return Answer(HTTPStatus.OK, body, content_type)

    def _facts(self) -> Status:
        status = self._status()
        return {
            **status,
            "ready": not problems(status, self._options),
            "event_loop": self.pulse.status(),
        }


def _load_exposition() -> "type[Exposition]":
    """In a thread: importing prometheus_client takes as long as some thousand answers."""
    from flannel_sdk.health.exposition import Exposition

    return Exposition


@asynccontextmanager
async def serve_health(options: HealthOptions, status: Callable[[], Status]) -> AsyncIterator[None]:
    """Answer while the block runs; ConfigError at once where the port cannot be had."""
    endpoints = Endpoints(options, status)
    handlers = {
        "/healthz": endpoints.healthz,
        "/readyz": endpoints.readyz,
        "/metrics": endpoints.metrics,
    }
    listener = await asyncio.to_thread(bind_listener, options)
    async with serve_http(listener, handlers):
        beating = asyncio.create_task(endpoints.pulse.beat(), name="event loop pulse")
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])
