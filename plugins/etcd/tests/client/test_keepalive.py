"""Keep-alive: a peer that is gone without a word is noticed, and etcd is not pinged too often."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from flannel_sdk_etcd.endpoints import Endpoint
from flannel_sdk_etcd.grpc_transport import GrpcTransport
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.schema import WatchCreateRequest, WatchRequest
from flannel_sdk_etcd.transport import CallFailed, Method
from google.protobuf.message import Message

from plugins.etcd.tests.proxy import OpenProxy
from plugins.etcd.tests.servers import Cluster

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(120)]

_PINGS = 3
"""Too frequent ones are refused at the third."""


async def test_an_idle_stream_lives_on_and_a_dead_one_is_noticed(
    etcd: Cluster, prefix: str, open_proxy: OpenProxy
) -> None:
    proxy = await open_proxy(etcd.member.port)
    endpoint = Endpoint("127.0.0.1", proxy.port, secure=False)
    connection = GrpcTransport(EtcdOptions(endpoints=(str(endpoint),))).connection(endpoint)

    async def request() -> AsyncIterator[Message]:
        create = WatchCreateRequest(key=prefix.encode(), start_revision=1)
        yield WatchRequest(create_request=create)
        await asyncio.Event().wait()

    async with aclosing(connection.stream(Method.WATCH, request(), token=None)) as stream:
        await anext(stream)
        waiting = asyncio.ensure_future(anext(stream))
        done, _ = await asyncio.wait([waiting], timeout=_PINGS * 10 + 5)
        assert not done, "etcd refuses to be pinged so often"
        proxy.silence()
        started = time.monotonic()
        with pytest.raises(CallFailed):
            await waiting
        assert time.monotonic() - started < 17, "10 s to the next ping, 5 s for its answer"
    await connection.aclose()
