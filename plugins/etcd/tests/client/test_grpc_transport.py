"""The transport against servers and proxies on loopback: what is sent, and what is left behind."""

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import pytest
from flannel_sdk_etcd.client import EtcdClient
from flannel_sdk_etcd.endpoints import Endpoint
from flannel_sdk_etcd.errors import OutcomeUnknown
from flannel_sdk_etcd.grpc_channel import Channel
from flannel_sdk_etcd.grpc_library import grpc
from flannel_sdk_etcd.grpc_transport import GrpcConnection, GrpcTransport
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.schema import (
    EventMessage,
    KeyValueMessage,
    RangeRequest,
    RangeResponse,
    ResponseHeader,
    WatchRequest,
    WatchResponse,
)
from flannel_sdk_etcd.transport import CallFailed, Failure, Method
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from flannel_sdk.errors import StoreUnavailable
from plugins.etcd.tests.client.tiny_server import (
    DONE,
    FOUND,
    Context,
    TinyServer,
    done,
    found,
    serving,
)
from plugins.etcd.tests.proxy import OpenProxy
from tests.stopwatch import Stopwatch

pytestmark = pytest.mark.slow


@asynccontextmanager
async def connection_to(endpoint: Endpoint) -> AsyncIterator[GrpcConnection]:
    options = EtcdOptions(endpoints=(str(endpoint),))
    connection = GrpcTransport(options).connection(endpoint)
    try:
        yield connection
    finally:
        await connection.aclose()


@asynccontextmanager
async def client_to(*urls: str, timeout: float = 2.0) -> AsyncIterator[EtcdClient]:
    client = EtcdClient(EtcdOptions(endpoints=urls, timeout=timeout))
    try:
        yield client
    finally:
        await client.aclose()


async def hang(request: bytes, context: Context) -> Message:
    await asyncio.Event().wait()
    return DONE


async def requests_of(*messages: Message) -> AsyncIterator[Message]:
    for message in messages:
        yield message
    await asyncio.Event().wait()


async def echo(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
    revision = 0
    async for _ in requests:
        revision += 1
        yield WatchResponse(header=ResponseHeader(revision=revision))


# -- writes ------------------------------------------------------------------------


async def test_a_write_that_was_applied_and_not_answered_is_sent_once(
    open_proxy: OpenProxy,
) -> None:
    applied = asyncio.Event()

    async def apply(request: bytes, context: Context) -> Message:
        applied.set()
        return await hang(request, context)

    async with serving(TinyServer({Method.TXN: apply})) as server:
        proxies = [await open_proxy(server.port), await open_proxy(server.port)]
        async with client_to(*(proxy.url() for proxy in proxies)) as client:
            writing = asyncio.create_task(client.put_if(b"k", 0, b"v"))
            await applied.wait()
            for proxy in proxies:
                proxy.cut()
            with pytest.raises(OutcomeUnknown):
                await writing
        assert server.asked == [Method.TXN]


async def test_a_write_goes_to_a_member_that_can_be_connected(open_proxy: OpenProxy) -> None:
    async with serving(TinyServer({Method.TXN: done})) as server:
        down = await open_proxy(server.port)
        down.refuse()
        async with client_to(down.url(), str(server.endpoint)) as client:
            await client.put(b"k", b"v")
        assert server.asked == [Method.TXN]


async def test_around_a_restart_a_write_is_sent_once_or_not_at_all() -> None:
    server = TinyServer({Method.TXN: done})
    async with serving(server):
        client = EtcdClient(EtcdOptions(endpoints=(str(server.endpoint),), timeout=1))
        await client.put(b"k", b"v")
    # It may be that nobody has noticed yet that the connection ended.
    with pytest.raises(StoreUnavailable):
        await client.put(b"k", b"v")
    assert server.asked == [Method.TXN]
    async with serving(server):
        await client.put(b"k", b"v")
        await client.aclose()
    assert server.asked == [Method.TXN] * 2


@pytest.mark.parametrize("kind", ["rubbish", "too large"])
async def test_a_write_whose_answer_cannot_be_read_may_have_been_done(kind: str) -> None:
    async def answer(request: bytes, context: Context) -> Message:
        return Any(type_url="a reply of another server" if kind == "rubbish" else "x" * 99)

    limit = () if kind == "rubbish" else ("grpc.max_receive_message_length=50",)
    server = TinyServer({Method.TXN: answer})
    async with serving(server):
        url = str(server.endpoint)
        client = EtcdClient(EtcdOptions((url,), timeout=2, grpc_options=limit))
        with pytest.raises(OutcomeUnknown):
            await client.put(b"k", b"v")
        await client.aclose()
    assert server.asked == [Method.TXN]


async def test_a_server_that_has_too_much_to_do_has_not_done_a_write() -> None:
    async def refuse(request: bytes, context: Context) -> Message:
        words = "etcdserver: too many requests"
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, words)

    server = TinyServer({Method.TXN: refuse})
    async with serving(server), client_to(str(server.endpoint)) as client:
        with pytest.raises(StoreUnavailable, match="too many") as failed:
            await client.put(b"k", b"v")
    assert type(failed.value) is StoreUnavailable


# -- what is sent ------------------------------------------------------------------


async def test_each_call_wants_a_leader_and_carries_the_token_it_was_given() -> None:
    server = TinyServer({Method.RANGE: found}, {Method.WATCH: echo})
    async with serving(server), connection_to(server.endpoint) as connection:
        await connection.call(Method.RANGE, RangeRequest(), token=None, timeout=2)
        await connection.call(Method.RANGE, RangeRequest(), token="secret", timeout=2)
        stream = connection.stream(Method.WATCH, requests_of(WatchRequest()), token="secret")
        async with aclosing(stream):
            await anext(stream)
    assert [sent["hasleader"] for sent in server.metadata] == ["true"] * 3
    assert [sent.get("token") for sent in server.metadata] == [None, "secret", "secret"]


async def test_the_environments_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("GRPC_ADDRESS_HTTP_PROXY", "127.0.0.1:1")
    monkeypatch.setenv("GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES", "127.0.0.0/8,::1")
    server = TinyServer({Method.RANGE: found})
    async with serving(server):
        client = EtcdClient(EtcdOptions(host="localhost", port=server.port))
        assert await client.get(b"k") == (None, 7)
        await client.aclose()


async def test_answers_and_events_of_any_size() -> None:
    large = [KeyValueMessage(key=b"%d" % n, value=b"x" * 2**20) for n in range(9)]

    async def list_all(request: bytes, context: Context) -> Message:
        return RangeResponse(header=ResponseHeader(revision=1), kvs=large)

    async def tell_all(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
        yield WatchResponse(events=[EventMessage(kv=kv) for kv in large])

    server = TinyServer({Method.RANGE: list_all}, {Method.WATCH: tell_all})
    async with serving(server), connection_to(server.endpoint) as connection:
        answer = await connection.call(Method.RANGE, RangeRequest(), token=None, timeout=10)
        assert isinstance(answer, RangeResponse)
        assert len(answer.kvs) == 9
        stream = connection.stream(Method.WATCH, requests_of(), token=None)
        async with aclosing(stream):
            told = await anext(stream)
        assert isinstance(told, WatchResponse)
        assert len(told.events) == 9


# -- connecting --------------------------------------------------------------------


async def test_connect_says_at_once_that_nobody_listens_and_sees_at_once_that_somebody_does(
    open_proxy: OpenProxy,
) -> None:
    server = TinyServer({Method.RANGE: found})
    async with serving(server):
        pass
    async with connection_to(server.endpoint) as connection:
        for _ in range(5):
            stopwatch = Stopwatch()
            with pytest.raises(CallFailed, match="refused") as failed:
                await connection.connect(5)
            assert failed.value.failure is Failure.NOT_CONNECTED
            assert stopwatch.seconds < 0.3
        async with serving(server):
            stopwatch = Stopwatch()
            await connection.connect(5)
            assert stopwatch.seconds < 0.3, "gRPC's own back-off was waited for"


async def test_many_callers_share_one_attempt_and_its_reason(open_proxy: OpenProxy) -> None:
    async with serving(TinyServer({Method.RANGE: found})) as server:
        proxy = await open_proxy(server.port)
        async with connection_to(Endpoint("127.0.0.1", proxy.port, secure=False)) as connection:
            await asyncio.gather(*(connection.connect(2) for _ in range(20)))
            assert proxy.accepted == 1


async def test_a_port_that_never_answers_takes_the_time_it_is_given(
    open_proxy: OpenProxy,
) -> None:
    async with serving(TinyServer()) as server:
        proxy = await open_proxy(server.port)
        proxy.silence()
        async with connection_to(Endpoint("127.0.0.1", proxy.port, secure=False)) as connection:
            started, stopwatch = time.monotonic(), Stopwatch()
            with pytest.raises(CallFailed) as failed:
                await connection.connect(0.3)
            assert time.monotonic() - started > 0.25
            assert stopwatch.seconds < 0.6
            with pytest.raises(CallFailed) as again:
                await connection.connect(0.1)
        assert failed.value.failure is Failure.NOT_CONNECTED
        assert failed.value.detail == again.value.detail, "else the log says it again and again"


async def test_a_name_that_is_none() -> None:
    async with connection_to(Endpoint("nowhere.invalid", 2379, secure=False)) as connection:
        with pytest.raises(CallFailed, match="resolved") as failed:
            await connection.connect(2)
    assert failed.value.failure is Failure.NOT_CONNECTED


async def test_a_server_that_is_not_etcd() -> None:
    async with serving(TinyServer()) as server, connection_to(server.endpoint) as connection:
        with pytest.raises(CallFailed) as failed:
            await connection.call(Method.RANGE, RangeRequest(), token=None, timeout=2)
    assert failed.value.failure is Failure.REFUSED


async def test_an_answer_that_is_not_etcds() -> None:
    async def rubbish(request: bytes, context: Context) -> Message:
        return Any(type_url="a reply of another server")

    server = TinyServer({Method.RANGE: rubbish})
    async with serving(server), connection_to(server.endpoint) as connection:
        with pytest.raises(CallFailed, match="not etcd's") as failed:
            await connection.call(Method.RANGE, RangeRequest(), token=None, timeout=2)
    assert failed.value.failure is Failure.UNANSWERED


# -- streams -----------------------------------------------------------------------


async def test_a_stream_goes_both_ways_and_ends_when_it_is_closed() -> None:
    ended = asyncio.Event()

    async def watch(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
        try:
            async for answer in echo(requests, context):
                yield answer
        finally:
            ended.set()

    server = TinyServer({}, {Method.WATCH: watch})
    async with serving(server), connection_to(server.endpoint) as connection:
        stream = connection.stream(
            Method.WATCH, requests_of(WatchRequest(), WatchRequest()), token=None
        )
        async with aclosing(stream):
            await anext(stream)
            await anext(stream)
        async with asyncio.timeout(2):
            await ended.wait()


@pytest.mark.parametrize("how", ["cut", "status", "end", "close"])
async def test_a_stream_that_breaks_says_so(how: str, open_proxy: OpenProxy) -> None:
    may_end = asyncio.Event()

    async def watch(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
        yield WatchResponse(created=True)
        await may_end.wait()
        if how == "status":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader")

    async with serving(TinyServer({}, {Method.WATCH: watch})) as server:
        proxy = await open_proxy(server.port)
        async with connection_to(Endpoint("127.0.0.1", proxy.port, secure=False)) as connection:
            stream = connection.stream(Method.WATCH, requests_of(WatchRequest()), token=None)
            async with aclosing(stream):
                await anext(stream)
                waiting = asyncio.create_task(anext(stream))
                await asyncio.sleep(0)
                if how == "cut":
                    proxy.cut()
                elif how == "close":
                    await connection.aclose()
                may_end.set()
                with pytest.raises(CallFailed) as failed:
                    await waiting
    expected = Failure.NO_LEADER if how == "status" else Failure.UNANSWERED
    assert failed.value.failure is expected


async def test_a_defect_in_who_sends_ends_the_stream_as_itself() -> None:
    may_break = asyncio.Event()

    async def broken() -> AsyncIterator[Message]:
        yield WatchRequest()
        await may_break.wait()
        raise ZeroDivisionError

    server = TinyServer({}, {Method.WATCH: echo})
    async with serving(server), connection_to(server.endpoint) as connection:
        stream = connection.stream(Method.WATCH, broken(), token=None)
        async with aclosing(stream):
            await anext(stream)
            may_break.set()
            with pytest.raises(ZeroDivisionError):
                await anext(stream)


# -- ending ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["call", "stream", "connect"])
async def test_cancelling_leaves_nothing_and_the_connection_usable(
    kind: str, open_proxy: OpenProxy
) -> None:
    async def watch(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
        await asyncio.Event().wait()
        yield FOUND

    server = TinyServer({Method.RANGE: found, Method.TXN: hang}, {Method.WATCH: watch})
    async with serving(server):
        proxy = await open_proxy(server.port)
        async with connection_to(Endpoint("127.0.0.1", proxy.port, secure=False)) as connection:
            before = asyncio.all_tasks()
            if kind == "connect":
                proxy.silence()
                work = asyncio.create_task(connection.connect(60))
            elif kind == "call":
                call = connection.call(Method.TXN, RangeRequest(), token=None, timeout=60)
                work = asyncio.create_task(_ignored(call))
            else:
                work = asyncio.create_task(_drained(connection))
            await asyncio.sleep(0.05)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            proxy.heal()
            answer = await connection.call(Method.RANGE, RangeRequest(), token=None, timeout=2)
            assert answer == FOUND
            ours = ("aio/_call.py", "grpc_transport.py")
            left = [repr(task) for task in asyncio.all_tasks() - before]
            assert not [task for task in left if any(file in task for file in ours)]


async def _ignored(call: object) -> None:
    await call  # type: ignore[misc]  # any awaitable


async def _drained(connection: GrpcConnection) -> None:
    stream = connection.stream(Method.WATCH, requests_of(WatchRequest()), token=None)
    async with aclosing(stream):
        async for _ in stream:
            pass


async def test_closing_ends_calls_with_an_error_and_not_with_a_cancellation() -> None:
    server = TinyServer({Method.TXN: hang})
    async with serving(server), connection_to(server.endpoint) as connection:
        call = connection.call(Method.TXN, RangeRequest(), token=None, timeout=60)
        waiting = asyncio.create_task(_ignored(call))
        await asyncio.sleep(0.05)
        await connection.aclose()
        with pytest.raises(CallFailed) as failed:
            await waiting
        assert failed.value.failure is Failure.UNANSWERED
        with pytest.raises(CallFailed, match="closed") as failed:
            await connection.connect(1)
        assert failed.value.failure is Failure.NOT_CONNECTED
        await connection.aclose()


def test_event_loops_one_after_another_and_side_by_side() -> None:
    async def session() -> None:
        server = TinyServer({Method.RANGE: found})
        async with serving(server):
            client = EtcdClient(EtcdOptions(endpoints=(str(server.endpoint),)))
            for _ in range(20):
                assert await client.get(b"k") == (None, 7)
            await client.aclose()

    for _ in range(3):
        asyncio.run(session())
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(session())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == []


async def test_channels_that_failed_are_gone_without_a_garbage_collection(
    open_proxy: OpenProxy,
) -> None:
    async with serving(TinyServer({Method.RANGE: found})) as server:
        proxy = await open_proxy(server.port)
        async with client_to(proxy.url()) as client:
            await client.get(b"k")
            gc.collect()
            gc.disable()
            try:
                for _ in range(5):
                    proxy.refuse()
                    with suppress(StoreUnavailable, TimeoutError):
                        async with asyncio.timeout(0.1):
                            await client.get(b"k")
                    proxy.heal()
                    await client.get(b"k")
                channels = [each for each in gc.get_objects() if isinstance(each, Channel)]
            finally:
                gc.enable()
    assert len(channels) <= 2, "the present one, and one that is to be closed next"
