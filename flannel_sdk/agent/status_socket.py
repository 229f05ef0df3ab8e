"""The agent's status socket: one JSON line asked, one JSON line answered, over a unix socket."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from flannel_sdk.errors import FlannelError, PermanentError

_PATIENCE = 5.0
"""Seconds that a client may take to ask."""

Answer = Callable[[], Awaitable[object]]


@asynccontextmanager
async def serve_status(path: Path, answers: Mapping[str, Answer]) -> AsyncIterator[None]:
    """Answer ``{"command": NAME}`` with what ``answers[NAME]`` gives, for as long as it is entered.

    Only the owner may connect (mode 0600). A socket file that nobody serves is replaced;
    PermanentError where another agent serves it or the place cannot be written.
    """
    listener = await asyncio.to_thread(_listen, path)
    conversations: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.create_task(_converse(reader, writer, answers))
        conversations.add(conversation)
        conversation.add_done_callback(conversations.discard)

    server = await asyncio.start_unix_server(accept, sock=listener)
    try:
        yield
    finally:
        server.close()
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _listen(path: Path) -> socket.socket:
    """A bound socket that only the owner may connect to, before anybody could."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_unserved(path)
        listener.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        listener.close()
        raise PermanentError(
            f"cannot serve the status socket {path}: {error.strerror or error}"
        ) from error
    except PermanentError:
        listener.close()
        raise
    return listener


def _remove_unserved(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
    raise PermanentError(
        f"another agent serves the status socket {path}: give each its own --status-socket"
    )


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: Mapping[str, Answer]
) -> None:
    try:
        with suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(_PATIENCE):
                line = await reader.readline()
            writer.write(json.dumps(await _answer(line, answers)).encode() + b"\n")
            await writer.drain()
    finally:
        writer.close()


async def _answer(line: bytes, answers: Mapping[str, Answer]) -> object:
    try:
        request = json.loads(line)
    except ValueError:
        return {"error": "the request is not a line of JSON"}
    command = request.get("command") if isinstance(request, dict) else None
    answer = answers.get(command) if isinstance(command, str) else None
    if answer is None:
        return {"error": f"unknown command {command!r}: ask for {', '.join(sorted(answers))}"}
    try:
        return await answer()
    except FlannelError as error:
        return {"error": str(error)}
