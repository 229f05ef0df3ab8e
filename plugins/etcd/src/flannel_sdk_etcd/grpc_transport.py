"""The transport on gRPC's asyncio API: one channel at a time to each endpoint."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from google.protobuf.message import DecodeError, Message

from flannel_sdk_etcd.credentials import CredentialFiles
from flannel_sdk_etcd.endpoints import Endpoint
from flannel_sdk_etcd.grpc_channel import Channel, ChannelOptions
from flannel_sdk_etcd.grpc_endings import released
from flannel_sdk_etcd.grpc_failures import ENDED_AT_ONCE, failure_of_call
from flannel_sdk_etcd.grpc_library import aio, grpc
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.port_probe import wrong_scheme
from flannel_sdk_etcd.schema import (
    AuthenticateResponse,
    LeaseGrantResponse,
    LeaseRevokeResponse,
    LeaseTimeToLiveResponse,
    RangeResponse,
    StatusResponse,
    TxnResponse,
    WatchResponse,
)
from flannel_sdk_etcd.transport import CallFailed, Failure, Method

Stream: TypeAlias = "aio.StreamStreamCall[bytes, bytes]"

_STREAM_CONNECT_SECONDS = 5.0
_RESPONSES: Mapping[Method, type[Message]] = {
    Method.RANGE: RangeResponse,
    Method.TXN: TxnResponse,
    Method.LEASE_GRANT: LeaseGrantResponse,
    Method.LEASE_REVOKE: LeaseRevokeResponse,
    Method.LEASE_TIME_TO_LIVE: LeaseTimeToLiveResponse,
    Method.AUTHENTICATE: AuthenticateResponse,
    Method.STATUS: StatusResponse,
    Method.WATCH: WatchResponse,
}


class GrpcTransport:
    """See Transport."""

    def __init__(self, options: EtcdOptions) -> None:
        self._credentials = CredentialFiles(options)
        self._channel_options = options.channel_arguments()

    def connection(self, endpoint: Endpoint) -> "GrpcConnection":
        """See Transport."""
        return GrpcConnection(endpoint, self._credentials, self._channel_options)


class GrpcConnection:
    """See Connection.

    A channel whose attempt to connect failed, or whose TLS files changed, is replaced when a
    connection is next asked for; calls that it still carries go on.
    """

    def __init__(
        self, endpoint: Endpoint, credentials: CredentialFiles, options: ChannelOptions
    ) -> None:
        self.endpoint = endpoint
        self._credentials = credentials
        self._options = options
        self._channel: Channel | None = None
        self._replaced: list[Channel] = []
        self._has_connected = False
        self._is_closed = False

    async def connect(self, timeout: float) -> None:
        """See Connection."""
        await self._connected(timeout)

    async def call(
        self, method: Method, request: Message, *, token: str | None, timeout: float
    ) -> Message:
        """See Connection."""
        deadline = time.monotonic() + timeout
        channel = await self._connected(timeout)
        unary: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.grpc.unary_unary(method.value)
        with _unsent_if_closed():
            call = unary(
                type(request).SerializeToString(request),
                timeout=max(0.001, deadline - time.monotonic()),
                metadata=_metadata(token),
            )
        try:
            with channel.used(call):
                answer = await call
        except grpc.RpcError as error:
            raise failure_of_call(error) from error
        except asyncio.CancelledError:
            raise _closed_under_call() from None
        return _parsed(method, answer)

    async def stream(
        self, method: Method, requests: AsyncIterator[Message], *, token: str | None
    ) -> AsyncGenerator[Message, None]:
        """See Connection."""
        channel = await self._connected(_STREAM_CONNECT_SECONDS)
        open_stream: aio.StreamStreamMultiCallable[bytes, bytes] = channel.grpc.stream_stream(
            method.value
        )
        with _unsent_if_closed():
            call = open_stream(metadata=_metadata(token))
        with channel.used(call):
            sending = asyncio.create_task(_send(call, requests))
            try:
                while True:
                    yield _parsed(method, await _next_answer(call, sending))
            finally:
                call.cancel()
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                await released(call)

    async def aclose(self) -> None:
        """See Connection."""
        self._is_closed = True
        channels = [*self._replaced, *([self._channel] if self._channel else [])]
        self._replaced, self._channel = [], None
        for channel in channels:
            await channel.aclose()

    async def _connected(self, timeout: float) -> Channel:
        channel = await self._usable_channel()
        if channel.is_connected:
            return channel
        try:
            with channel.used():
                async with asyncio.timeout(timeout):
                    await channel.connect()
        except TimeoutError:
            # Without the seconds, which differ each time: a log says the same text once a minute.
            raise CallFailed(Failure.NOT_CONNECTED, "nothing answered there in time") from None
        except CallFailed as error:
            mistake = await self._mistake(error)
            if mistake is None:
                raise
            raise CallFailed(Failure.UNTRUSTED, f"{mistake} ({error.detail})") from error
        self._has_connected = True
        return channel

    async def _mistake(self, error: CallFailed) -> str | None:
        """What is wrong with the endpoint, where its port answers but was never connected."""
        if self._has_connected or not ENDED_AT_ONCE.search(error.detail):
            return None
        return await wrong_scheme(self.endpoint)

    async def _usable_channel(self) -> Channel:
        """The present channel, or one in its place where that is no use any more."""
        credentials = await self._credentials.current()
        unused = [channel for channel in self._replaced if channel.is_idle]
        self._replaced = [channel for channel in self._replaced if channel not in unused]
        for channel in unused:
            await channel.aclose()
        if self._is_closed:
            raise CallFailed(Failure.NOT_CONNECTED, "the client was closed")
        present = self._channel
        if present and present.credentials is credentials and not present.has_failed:
            return present
        if present:
            self._replaced.append(present)
        self._channel = Channel(self.endpoint, credentials, self._options)
        return self._channel


@contextmanager
def _unsent_if_closed() -> Iterator[None]:
    """Around giving a request to gRPC."""
    try:
        yield
    except aio.UsageError as error:
        raise CallFailed(Failure.NOT_CONNECTED, "the connection was closed") from error


async def _send(stream: Stream, requests: AsyncIterator[Message]) -> None:
    """Send until told to stop; a stream that broke is noticed by who reads it."""
    try:
        async for request in requests:
            await stream.write(type(request).SerializeToString(request))
    except (grpc.RpcError, aio.UsageError, asyncio.InvalidStateError):
        return
    except Exception:
        stream.cancel()
        raise


async def _next_answer(stream: Stream, sending: asyncio.Task[None]) -> bytes:
    try:
        answer = await stream.read()
    except grpc.RpcError as error:
        raise failure_of_call(error) from error
    except asyncio.CancelledError:
        if sending.done() and not sending.cancelled() and not _is_cancelled():
            await sending
        raise _closed_under_call() from None
    if isinstance(answer, bytes):
        return answer
    raise CallFailed(Failure.UNANSWERED, "the server ended the stream")


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _closed_under_call() -> CallFailed:
    """What to raise for gRPC's CancelledError: itself if it was the task that was cancelled.

    gRPC raises the same in calls of a channel that is closed, which must not look like it.
    """
    if _is_cancelled():
        raise asyncio.CancelledError
    return CallFailed(Failure.UNANSWERED, "the connection was closed")


def _metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    """A member that sees no leader says so instead of waiting for one."""
    leader = ("hasleader", "true")
    return (leader,) if token is None else (leader, ("token", token))


def _parsed(method: Method, answer: bytes) -> Message:
    try:
        return _RESPONSES[method].FromString(answer)
    except DecodeError as error:
        raise CallFailed(Failure.UNANSWERED, "what came back is not etcd's") from error
