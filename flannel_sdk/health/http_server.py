"""A small HTTP/1.1 server in the event loop: GET and HEAD, one request a connection."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import NamedTuple

_log = logging.getLogger(__name__)

HEADER_BYTES = 8192
"""The longest request line and headers."""
PATIENCE = 5.0
"""Seconds for a client to ask, and again to take the answer."""
MOST_CONNECTIONS = 64
"""Beyond, the oldest is cut off: whoever opens many must not keep others out."""

TEXT = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """What is sent back."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


Handler = Callable[[Mapping[str, str]], Awaitable[Answer]]
"""Answers one path; is given the request's headers, their names in lower case."""


@asynccontextmanager
async def serve_http(
    listener: socket.socket, handlers: Mapping[str, Handler]
) -> AsyncIterator[None]:
    """Answer on ``listener``, which is bound and becomes ours, while the block runs."""
    conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def cut_off(conversation: "asyncio.Task[None]") -> None:
        # At once: one that has not begun does not come to close its connection, and one that still
        # counts would be cut off again in place of the next.
        conversations.pop(conversation).transport.abort()
        conversation.cancel()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(conversations) >= MOST_CONNECTIONS:
            cut_off(next(iter(conversations)))
        conversation = asyncio.create_task(_converse(reader, writer, handlers))
        conversations[conversation] = writer
        conversation.add_done_callback(lambda done: conversations.pop(done, None))

    server = await asyncio.start_server(accept, sock=listener, limit=HEADER_BYTES)
    try:
        yield
    finally:
        server.close()
        ending = list(conversations)
        for conversation in ending:
            cut_off(conversation)
        await asyncio.gather(*ending, return_exceptions=True)


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handlers: Mapping[str, Handler]
) -> None:
    try:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            try:
                async with asyncio.timeout(PATIENCE):
                    head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError:
                head = None
            method, answer = await _answer(head, handlers)
            writer.write(_encoded(answer, with_body=method != "HEAD"))
            async with asyncio.timeout(PATIENCE):
                await writer.drain()
    finally:
        writer.close()


async def _answer(head: bytes | None, handlers: Mapping[str, Handler]) -> tuple[str, Answer]:
    """The request's method and what to answer; ``head`` is None where it is too long."""
    if head is None:
        return "", _said(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return "", _said(HTTPStatus.BAD_REQUEST, "this is no HTTP/1 request")
    method, target, _ = words
    if method not in {"GET", "HEAD"}:
        return method, _said(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD are answered")
    handler = handlers.get(target.partition("?")[0])
    if handler is None:
        known = ", ".join(sorted(handlers))
        return method, _said(HTTPStatus.NOT_FOUND, f"there is nothing here: ask for {known}")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    try:
        return method, await handler(headers)
    except Exception as error:  # a defect: the asker should be told, and the next one answered
        _log.exception("the answer to GET %s failed", target)
        said = f"the answer failed ({type(error).__name__})"
        return method, _said(HTTPStatus.INTERNAL_SERVER_ERROR, said)


def _said(status: HTTPStatus, sentence: str) -> Answer:
    return Answer(status, sentence.encode() + b"\n")


def _encoded(answer: Answer, *, with_body: bool) -> bytes:
    status, body, content_type = answer
    allow = "Allow: GET, HEAD\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n{allow}Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (body if with_body else b"")
