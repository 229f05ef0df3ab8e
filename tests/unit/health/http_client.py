"""Asks a server of this test as a probe would, over a real socket."""

import asyncio
import socket
from contextlib import closing
from typing import NamedTuple


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def ask(port: int, request: bytes, host: str = "127.0.0.1") -> Reply:
    """Send ``request`` as it is; the reply when the server has closed."""
    reader, writer = await asyncio.open_connection(host, port)
    with closing(writer):
        writer.write(request)
        return parsed(await reader.read())


async def get(port: int, path: str, *headers: str, host: str = "127.0.0.1") -> Reply:
    lines = [f"GET {path} HTTP/1.1", "Host: node", *headers, "", ""]
    return await ask(port, "\r\n".join(lines).encode(), host)


def parsed(reply: bytes) -> Reply:
    head, _, body = reply.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Reply(int(first.split(" ")[1]), headers, body.decode())
