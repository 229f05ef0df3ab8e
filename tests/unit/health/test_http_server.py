"""The small HTTP server: what it answers, what it refuses, and whom it does not wait for."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from http import HTTPStatus

import pytest

from flannel_sdk.errors import ConfigError
from flannel_sdk.health import http_server
from flannel_sdk.health.http_server import Answer, serve_http
from flannel_sdk.health.listener import bind_listener
from flannel_sdk.health.options import HealthOptions
from flannel_sdk.testing.waiting import eventually
from tests.unit.health.http_client import ask, free_port, get


async def hello(headers: Mapping[str, str]) -> Answer:
    return Answer(HTTPStatus.OK, f"hello {headers.get('x-name', 'you')}".encode())


async def broken(_: Mapping[str, str]) -> Answer:
    raise KeyError("secret")


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    listener = bind_listener(HealthOptions("127.0.0.1", free_port()))
    port: int = listener.getsockname()[1]
    async with serve_http(listener, {"/hello": hello, "/broken": broken}):
        yield port


async def test_a_path_is_answered_and_its_query_passed_over() -> None:
    async with serving() as port:
        assert (await get(port, "/hello")).body == "hello you"
        reply = await get(port, "/hello?verbose", "X-Name:  Ada ")
        assert (reply.status, reply.body) == (200, "hello Ada")
        assert reply.headers["Content-Length"] == "9"
        assert reply.headers["Connection"] == "close"


async def test_head_gets_the_headers_alone() -> None:
    async with serving() as port:
        reply = await ask(port, b"HEAD /hello HTTP/1.0\r\n\r\n")
        assert (reply.status, reply.headers["Content-Length"], reply.body) == (200, "9", "")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /hello HTTP/1.1\r\n\r\n", 405),
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"GET /hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET /hello SPDY/3\r\n\r\n", 400),
        (b"GET /broken HTTP/1.1\r\n\r\n", 500),
        (b"GET /hello HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_no_such_request_gets_a_sentence(request_bytes: bytes, status: int) -> None:
    async with serving() as port:
        reply = await ask(port, request_bytes)
        assert reply.status == status
        assert reply.body.count("\n") == 1
        assert "secret" not in reply.body
        assert (await get(port, "/hello")).status == 200


async def test_who_does_not_ask_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "PATIENCE", 0.05)
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(b"GET /hello HTTP/1.1\r\n")
            async with asyncio.timeout(10):
                assert await reader.read() == b""


async def test_many_idle_connections_keep_nobody_out() -> None:
    async with serving() as port:
        idle = [
            await asyncio.open_connection("127.0.0.1", port)
            for _ in range(http_server.MOST_CONNECTIONS + 10)
        ]
        try:
            async with asyncio.timeout(4):  # sooner than the idle ones run out of time
                assert (await get(port, "/hello")).status == 200
        finally:
            for _, writer in idle:
                writer.close()


async def test_a_burst_of_connections_is_cut_off_and_leaves_no_descriptor() -> None:
    """They are all taken in one turn of the loop, before any conversation has begun."""
    before = _descriptors()
    async with serving() as port:
        burst = [socket.socket() for _ in range(http_server.MOST_CONNECTIONS + 30)]
        most = _descriptors() + http_server.MOST_CONNECTIONS
        try:
            for one in burst:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            for _ in range(10):
                await asyncio.sleep(0)
            assert _descriptors() <= most
            assert (await get(port, "/hello")).status == 200
        finally:
            for one in burst:
                one.close()
    await eventually(lambda: _descriptors() <= before, "all are closed", 20.0)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_closing_ends_open_conversations_at_once() -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET")
        assert (await get(port, "/hello")).status == 200
    with closing(writer):
        async with asyncio.timeout(10):
            assert await reader.read() == b""


async def test_a_port_in_use_is_one_sentence_that_names_the_flag() -> None:
    async with serving() as port:
        with pytest.raises(ConfigError, match="another process listens there") as caught:
            bind_listener(HealthOptions("127.0.0.1", port))
        assert str(port) in str(caught.value)
        assert "--healthz-port" in str(caught.value)


def test_an_address_that_is_not_ours_names_the_other_flag() -> None:
    with pytest.raises(ConfigError, match="--healthz-ip"):
        bind_listener(HealthOptions("192.0.2.77", free_port()))
    with pytest.raises(ConfigError, match="--healthz-ip"):
        bind_listener(HealthOptions("no address", free_port()))


@pytest.mark.parametrize("ip", ["", "0.0.0.0", "::"])
def test_no_address_means_all_addresses_of_both_families(ip: str) -> None:
    """As Go's: a node that has only IPv6 is probed by it, also where nobody gave --healthz-ip."""
    port = free_port()
    with closing(bind_listener(HealthOptions(ip, port))):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        if _has_ipv6():
            socket.create_connection(("::1", port), timeout=5).close()


def _has_ipv6() -> bool:
    with suppress(OSError), closing(socket.socket(socket.AF_INET6)) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_is_a_port(port: int) -> None:
    with pytest.raises(ConfigError, match="healthz-port"):
        HealthOptions(port=port)
