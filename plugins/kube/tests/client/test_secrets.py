"""Tokens and passwords are in no error, nor in what is chained to it, nor in a representation."""

import asyncio
import base64
import json
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from flannel_sdk_kube import KubeOptions
from flannel_sdk_kube.client import KubeClient
from flannel_sdk_kube.credentials import Access

from flannel_sdk.errors import FlannelError, StoreUnavailable
from flannel_sdk.model import Secret
from plugins.etcd.tests.certificates import Authority
from plugins.kube.tests.client.sites import write_config

TOKEN = "t0ken-that-nobody-sees"
PASSWORD = "passw0rd-that-nobody-sees"
_SECRETS = (TOKEN, PASSWORD, base64.b64encode(f"user:{PASSWORD}".encode()).decode())

GARBAGE = b"\x16\x03\x01 this is no HTTP\r\n\r\n"
CUT = b""
HALF = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
BAD_CHUNK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nz"
)
BAD_GZIP = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    b"Content-Length: 4\r\n\r\nnone"
)
NO_PROXY = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[int]:
    """A server that answers each request with these bytes, and hangs up; its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _failure(path: Path) -> FlannelError:
    client = KubeClient(KubeOptions(kubeconfig=path, timeout=30.0))
    with pytest.raises(FlannelError) as caught:
        await client.get_node("a")
    await client.aclose()
    return caught.value


def _texts(error: BaseException | None) -> list[str]:
    """All that a log, a debugger or a collector of errors may show of it."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), *traceback.format_exception(error)]
        texts += [repr(value) for value in vars(error).values()]
        error = error.__cause__ or error.__context__
    return texts


def _check_silent(error: FlannelError) -> None:
    for text in _texts(error):
        for secret in _SECRETS:
            assert secret not in text


@pytest.mark.parametrize("answer", [GARBAGE, CUT, HALF, BAD_CHUNK, BAD_GZIP])
async def test_a_broken_answer_tells_no_token(
    authority: Authority, tmp_path: Path, answer: bytes
) -> None:
    async with raw_server(answer) as port:
        url = f"http://127.0.0.1:{port}"
        error = await _failure(write_config(tmp_path, url, authority, token=TOKEN))
    assert isinstance(error, StoreUnavailable)
    _check_silent(error)


@pytest.mark.parametrize("url", ["https://api.invalid", "http://api.invalid"])
@pytest.mark.parametrize("answer", [NO_PROXY, GARBAGE, CUT])
async def test_a_proxy_that_refuses_tells_no_password(
    authority: Authority, tmp_path: Path, url: str, answer: bytes
) -> None:
    path = write_config(tmp_path, url, authority, token=TOKEN)
    content = json.loads(path.read_text())
    async with raw_server(answer) as port:
        cluster = content["clusters"][0]["cluster"]
        cluster["proxy-url"] = f"http://user:{PASSWORD}@127.0.0.1:{port}"
        path.write_text(json.dumps(content))
        error = await _failure(path)
    assert isinstance(error, StoreUnavailable)
    _check_silent(error)


def test_an_access_shows_no_secret() -> None:
    proxy = Secret(f"http://user:{PASSWORD}@192.0.2.1")
    access = Access("https://192.0.2.1", None, Secret(TOKEN), None, proxy)
    assert TOKEN not in repr(access)
    assert PASSWORD not in repr(access)
