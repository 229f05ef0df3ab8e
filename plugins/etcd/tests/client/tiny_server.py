"""A gRPC server on loopback whose methods are a test's own functions."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from flannel_sdk_etcd.endpoints import Endpoint
from flannel_sdk_etcd.grpc_library import aio, grpc
from flannel_sdk_etcd.schema import RangeResponse, ResponseHeader, TxnResponse
from flannel_sdk_etcd.transport import Method
from google.protobuf.message import Message

Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Unary: TypeAlias = Callable[[bytes, Context], Awaitable[Message]]
Streaming: TypeAlias = Callable[[AsyncIterator[bytes], Context], AsyncIterator[Message]]


@dataclass
class TinyServer:
    """Counts what comes in; answers as the functions say."""

    unary: Mapping[Method, Unary] = field(default_factory=dict)
    streaming: Mapping[Method, Streaming] = field(default_factory=dict)
    asked: list[Method] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port, secure=False)

    def handler(self, details: grpc.HandlerCallDetails) -> "Handler | None":
        """Takes down that a call came, and says what answers it."""
        method = Method(details.method)
        if method is Method.STATUS and method not in self.unary:
            return None  # any answer tells who asks that there is a connection
        self.asked.append(method)
        self.metadata.append(dict(details.invocation_metadata))
        if method in self.streaming:
            return grpc.stream_stream_rpc_method_handler(_each_serialized(self.streaming[method]))
        if method in self.unary:
            return grpc.unary_unary_rpc_method_handler(_serialized(self.unary[method]))
        return None


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, server: TinyServer) -> None:
        self._server = server

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        return self._server.handler(handler_call_details)


def _serialized(answer: Unary) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def answered(request: bytes, context: Context) -> bytes:
        message = await answer(request, context)
        return type(message).SerializeToString(message)

    return answered


def _each_serialized(
    answers: Streaming,
) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]:
    async def answered(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for message in answers(requests, context):
            yield type(message).SerializeToString(message)

    return answered


@asynccontextmanager
async def serving(server: TinyServer) -> AsyncIterator[TinyServer]:
    """The server on a free port, until the end."""
    options = [("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
    running = aio.server(options=options)
    running.add_generic_rpc_handlers([_Handlers(server)])
    server.port = running.add_insecure_port(f"127.0.0.1:{server.port}")
    await running.start()
    try:
        yield server
    finally:
        await running.stop(None)


FOUND = RangeResponse(header=ResponseHeader(revision=7))
DONE = TxnResponse(header=ResponseHeader(revision=8), succeeded=True)


async def found(request: bytes, context: Context) -> Message:
    """Nothing, at revision 7."""
    return FOUND


async def done(request: bytes, context: Context) -> Message:
    """The transaction succeeded."""
    return DONE
