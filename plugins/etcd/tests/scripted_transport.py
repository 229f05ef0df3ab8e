"""A transport that plays scripts instead of speaking to servers, for tests of what is above it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from flannel_sdk_etcd.endpoints import Endpoint
from flannel_sdk_etcd.schema import (
    DELETE,
    PUT,
    EventMessage,
    KeyValueMessage,
    ResponseHeader,
    WatchCreateRequest,
    WatchRequest,
    WatchResponse,
)
from flannel_sdk_etcd.transport import CallFailed, Connection, Failure, Method
from google.protobuf.message import Message

from flannel_sdk.errors import StoreUnavailable

CLUSTER = 0xC1


@dataclass(frozen=True)
class Pause:
    """Nothing is sent for so long."""

    seconds: float


@dataclass(frozen=True)
class Answer:
    """Wait for a progress request, and answer it as etcd does."""

    revision: int


HANG = Pause(1e9)
Step: TypeAlias = WatchResponse | Pause | Answer | Exception
"""What a stream does next: send, wait, answer, break."""
Script: TypeAlias = Sequence[Step] | Exception
"""What a stream does; or why no connection is made."""


@dataclass
class Stream:
    """One stream that was opened, and what became of it."""

    connection: "ScriptedConnection"
    token: str | None
    opened_at: float
    create: WatchCreateRequest | None = None
    asked_at: list[float] = field(default_factory=list)
    """When progress was requested."""
    sent: int = 0
    """Responses that were taken from it."""
    closed_at: float | None = None


class ScriptedConnection:
    """Connection: each stream plays the next script of its source."""

    def __init__(self, source: "ScriptedSource", port: int) -> None:
        self.endpoint = Endpoint("127.0.0.1", port, secure=False)
        self._source = source

    async def connect(self, timeout: float) -> None:
        raise NotImplementedError

    async def call(
        self, method: Method, request: Message, *, token: str | None, timeout: float
    ) -> Message:
        raise NotImplementedError

    async def stream(
        self, method: Method, requests: AsyncIterator[Message], *, token: str | None
    ) -> AsyncGenerator[Message, None]:
        assert method is Method.WATCH
        loop = asyncio.get_running_loop()
        stream = Stream(self, token, loop.time())
        self._source.streams.append(stream)
        asked: asyncio.Queue[None] = asyncio.Queue()
        reader = asyncio.create_task(_read(requests, stream, asked))
        try:
            for step in self._source.next_script():
                response = await _played(step, asked)
                if response is not None:
                    stream.sent += 1
                    yield response
        finally:
            stream.closed_at = loop.time()
            reader.cancel()

    async def aclose(self) -> None:
        raise NotImplementedError


class ScriptedSource:
    """WatchSource over endpoints on ports 1, 2, ..; an exception among the scripts is raised by
    ``connected``. When the scripts are used up, streams hang."""

    def __init__(self, *scripts: Script, endpoints: int = 2) -> None:
        self.closed = asyncio.Event()
        self.scripts = deque(scripts)
        self.streams: list[Stream] = []
        self.failures: list[tuple[int, Failure]] = []
        """The port and the failure of each call of ``failed``."""
        self.connected_at: list[float] = []
        self.token: str | None = None
        self.heard_times = 0
        self._connections: deque[Connection] = deque(
            ScriptedConnection(self, port + 1) for port in range(endpoints)
        )

    async def connected(self) -> tuple[Connection, str | None]:
        self.connected_at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        if self.scripts and isinstance(self.scripts[0], Exception):
            error = self.scripts.popleft()
            assert isinstance(error, Exception)
            raise error
        return self._connections[0], self.token

    def failed(self, connection: Connection, error: CallFailed) -> StoreUnavailable:
        self.failures.append((connection.endpoint.port, error.failure))
        if error.failure is Failure.TOKEN_REFUSED:
            self.token = f"{self.token}+"
        else:
            self._connections.rotate(-1)
        return StoreUnavailable(f"etcd at {connection.endpoint}: {error.detail}")

    def heard(self) -> None:
        self.heard_times += 1

    def next_script(self) -> Sequence[Step]:
        script = self.scripts.popleft() if self.scripts else [HANG]
        assert not isinstance(script, Exception)
        return script


async def _read(
    requests: AsyncIterator[Message], stream: Stream, asked: asyncio.Queue[None]
) -> None:
    async for request in requests:
        assert isinstance(request, WatchRequest)
        if request.HasField("create_request"):
            stream.create = request.create_request
        else:
            stream.asked_at.append(asyncio.get_running_loop().time())
            asked.put_nowait(None)


async def _played(step: Step, asked: asyncio.Queue[None]) -> WatchResponse | None:
    match step:
        case Pause():
            await asyncio.sleep(step.seconds)
            return None
        case Answer():
            await asked.get()
            return answered(step.revision)
        case Exception():
            # The network takes its time: other tasks run first.
            await asyncio.sleep(0)
            raise step
    await asyncio.sleep(0)
    return step


def broken(detail: str = "connection reset") -> CallFailed:
    """What a stream raises whose connection broke."""
    return CallFailed(Failure.UNANSWERED, detail)


def created(revision: int = 1) -> WatchResponse:
    """The first response, of a store at ``revision``."""
    return WatchResponse(header=_header(revision), created=True)


def answered(revision: int) -> WatchResponse:
    """The answer to a progress request: it is of no watch."""
    return WatchResponse(header=_header(revision), watch_id=-1)


def progress(revision: int) -> WatchResponse:
    """A timed progress notification."""
    return WatchResponse(header=_header(revision))


def canceled(
    reason: str = "", *, compact_revision: int = 0, created: bool = False
) -> WatchResponse:
    """The server ends the watch."""
    return WatchResponse(
        header=_header(1),
        canceled=True,
        created=created,
        cancel_reason=reason,
        compact_revision=compact_revision,
    )


def put(revision: int, key: bytes = b"k", value: bytes = b"v", lease: int = 0) -> EventMessage:
    """A key was written."""
    kv = KeyValueMessage(key=key, value=value, mod_revision=revision, lease=lease)
    return EventMessage(type=PUT, kv=kv)


def removal(revision: int, key: bytes = b"k") -> EventMessage:
    """A key was deleted."""
    return EventMessage(type=DELETE, kv=KeyValueMessage(key=key, mod_revision=revision))


def events(*messages: EventMessage, at: int | None = None, fragment: bool = False) -> WatchResponse:
    """A response with events, of a store at revision ``at``."""
    revision = messages[-1].kv.mod_revision if at is None else at
    return WatchResponse(header=_header(revision), events=messages, fragment=fragment)


def _header(revision: int) -> ResponseHeader:
    return ResponseHeader(cluster_id=CLUSTER, revision=revision)
