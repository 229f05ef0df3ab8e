"""ApiClient: authenticated calls to an API server, and streams of lines from it."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from flannel_sdk.errors import ConfigError
from flannel_sdk_kube.credentials import Access, Credentials
from flannel_sdk_kube.failures import CallFailed, Failure, Purpose
from flannel_sdk_kube.http_failures import answered, not_connected
from flannel_sdk_kube.lines import EndlessLine, Lines
from flannel_sdk_kube.outcomes import Outcomes
from flannel_sdk_kube.sockets import Sockets

T = TypeVar("T")

CONNECT_SECONDS: Final = 5.0
_READ_AHEAD: Final = 256 * 1024
_LONG_SECONDS: Final = 120.0
_LONGEST_REFUSAL: Final = 64 * 1024
_TO_RENEW: Final = frozenset({Failure.UNAUTHENTICATED, Failure.UNTRUSTED})


class Request(NamedTuple):
    """One call."""

    purpose: Purpose
    path: str
    """From ``/api``, quoted."""
    query: Mapping[str, str] = {}
    method: str = "GET"
    body: Mapping[str, object] | None = None
    content_type: str = "application/json"
    is_long: bool = False
    """Whether the answer may take longer than the time for a call, once it has begun."""


class ApiClient:
    """One session of HTTP with one API server. Every failure is a CallFailed or a ConfigError."""

    def __init__(self, credentials: Credentials, timeout: float) -> None:
        """``timeout``: seconds that a call may take in all; a long one, until it begins."""
        self.outcomes = Outcomes(credentials)
        self._credentials = credentials
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._sockets = Sockets()
        self._is_closed = False

    async def call(self, request: Request) -> bytearray:
        """The body of the answer. A server that asks to wait for a moment is waited for.

        That it worked is for the caller to say, who knows whether the body is an answer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while True:
            try:
                return await self._answered(request, deadline)
            except CallFailed as failed:
                if not 0 < failed.retry_after < deadline - loop.time():
                    raise
                await asyncio.sleep(failed.retry_after)

    async def _answered(self, request: Request, deadline: float) -> bytearray:
        async with self._answer(request, self._timeout, deadline) as response:
            try:
                async with asyncio.timeout_at(
                    deadline + _LONG_SECONDS if request.is_long else deadline
                ):
                    body = bytearray()  # response.read() would hold a large one twice
                    while piece := await response.content.readany():
                        body += piece
                    return body
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise self._closed_or(_broken(error)) from error

    @asynccontextmanager
    async def stream(
        self, request: Request, silence: float
    ) -> AsyncIterator[AsyncGenerator[list[bytes], None]]:
        """The lines of an endless answer, in batches as they arrive, until it ends.

        Within, CallFailed SILENT after ``silence`` seconds without a byte.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout
        async with self._answer(request, silence, deadline) as response:
            self.outcomes.worked(request.purpose)
            yield self._lines(response, silence)

    async def aclose(self) -> None:
        """Close all connections; what waits for one fails. Idempotent."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self._sockets.close()

    @asynccontextmanager
    async def _answer(
        self, request: Request, silence: float, deadline: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer that began before ``deadline``, whose body is still to be read."""
        try:
            access = await self._granted(self._credentials.current(), deadline)
            try:
                async with asyncio.timeout_at(deadline):
                    response = await self._opened(request, access, silence)
            except TimeoutError as error:
                raise not_connected(error) from error
            try:
                yield response
            finally:
                _hang_up(response)
        except CallFailed as failed:
            failed.purpose = request.purpose
            raise

    async def _opened(
        self, request: Request, access: Access, silence: float
    ) -> aiohttp.ClientResponse:
        try:
            return await self._sent(request, access, silence)
        except CallFailed as failed:
            if failed.failure not in _TO_RENEW:
                raise
            renewed = await self._granted(self._credentials.renewed(access), None)
            if renewed is None:
                raise
        return await self._sent(request, renewed, silence)

    async def _granted(self, asking: Awaitable[T], deadline: float | None) -> T:
        """What the credentials answer; a ConfigError only while nothing has worked."""
        try:
            async with asyncio.timeout_at(deadline):
                return await asking
        except TimeoutError as error:
            detail = f"{self._credentials.called} were not there in time"
            raise CallFailed(Failure.NO_CREDENTIALS, detail) from error
        except ConfigError as error:
            if not self.outcomes.has_worked:
                raise
            raise CallFailed(Failure.NO_CREDENTIALS, str(error)) from error

    async def _sent(
        self, request: Request, access: Access, silence: float
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json"}
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        if access.authorization is not None:
            headers["Authorization"] = access.authorization.reveal()
        query = f"?{urlencode(request.query)}" if request.query else ""
        try:
            response = await self._opened_session().request(
                request.method,
                URL(f"{access.url}{request.path}{query}", encoded=True),
                data=None if request.body is None else json.dumps(request.body).encode(),
                headers=headers,
                ssl=access.tls or True,
                server_hostname=access.server_name if access.tls else None,
                proxy=access.proxy.reveal() if access.proxy else None,
                allow_redirects=False,
                read_bufsize=_READ_AHEAD,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_SECONDS, sock_read=silence
                ),
            )
        except aiohttp.ClientResponseError as error:
            no_answer = self._closed_or(not_connected(error))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._closed_or(not_connected(error)) from error
        else:
            if response.status >= 300 or response.content_type != "application/json":
                raise await _refusal(response)
            return response
        raise no_answer  # chained to nothing: what aiohttp raised holds the headers that were sent

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise CallFailed(Failure.CLOSED)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, socket_factory=self._sockets.make),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "flannel-sdk-kube"},
                trust_env=False,
            )
        return self._session

    async def _lines(
        self, response: aiohttp.ClientResponse, silence: float
    ) -> AsyncGenerator[list[bytes], None]:
        clock = asyncio.get_running_loop().time
        lines, idle_since = Lines(), clock()
        try:
            while piece := await response.content.readany():
                self.outcomes.heard()
                complete = lines.feed(piece)
                if complete or not lines.is_within_one:
                    idle_since = clock()
                elif clock() - idle_since > silence:
                    raise TimeoutError
                if complete:
                    yield complete
                    idle_since = clock()
        except TimeoutError as error:
            raise CallFailed(Failure.SILENT, "it told nothing for a long time") from error
        except (aiohttp.ClientError, OSError, EndlessLine) as error:
            raise self._closed_or(_broken(error)) from error
        if lines.is_within_one:
            raise CallFailed(Failure.BROKEN, "the answer ends within a line", in_stream=True)

    def _closed_or(self, failed: CallFailed) -> CallFailed:
        return CallFailed(Failure.CLOSED) if self._is_closed else failed


def _hang_up(response: aiohttp.ClientResponse) -> None:
    """Close it; the connection of one that has not ended too, and at once.

    It would say goodbye in TLS first, for which a silent server is waited for half a minute.
    """
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


async def _refusal(response: aiohttp.ClientResponse) -> CallFailed:
    """What an answer that is no success says; reads and closes it."""
    try:
        body = await response.content.readexactly(_LONGEST_REFUSAL)
    except asyncio.IncompleteReadError as all_of_it:
        body = all_of_it.partial
    except (aiohttp.ClientError, OSError, TimeoutError):
        body = b""
    finally:
        response.close()
    return answered(response.status, body, response.headers.get("Retry-After"))


def _broken(error: Exception) -> CallFailed:
    if isinstance(error, aiohttp.ClientPayloadError):
        return CallFailed(Failure.BROKEN, "the answer was cut off", in_stream=True)
    if isinstance(error, EndlessLine):
        return CallFailed(Failure.BROKEN, "a line has no end", in_stream=True)
    failed = not_connected(error)
    return CallFailed(Failure.BROKEN, f"the connection was cut ({failed.detail})", in_stream=True)
