"""The agent's status socket: one JSON line asked, one JSON line answered, over a unix socket."""

import asyncio
import json
import logging
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from flannel_sdk.errors import FlannelError, PermanentError

_log = logging.getLogger(__name__)

_PATIENCE = 5.0
"""Seconds that a client may take to ask."""

Answer = Callable[[], Awaitable[object]]


@asynccontextmanager
async def serve_status(path: Path, answers: Mapping[str, Answer]) -> AsyncIterator[None]:
    """Answer ``{"command": NAME}`` with what ``answers[NAME]`` gives, for as long as it is entered.

    Only the owner may connect (mode 0600). A socket file that nobody serves is replaced;
    PermanentError where another agent serves it, something else is there, or the place cannot be
    written.
    """
    conversations: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.create_task(_converse(reader, writer, answers))
        conversations.add(conversation)
        conversation.add_done_callback(conversations.discard)

    # Made here, so that it is closed here when we are cancelled while the thread binds it.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        inode = await asyncio.to_thread(_bind, listener, path)
        server = await asyncio.start_unix_server(accept, sock=listener)
        try:
            yield
        finally:
            server.close()
            for conversation in conversations:
                conversation.cancel()
            await asyncio.gather(*conversations, return_exceptions=True)
            await asyncio.to_thread(_remove, path, inode)


def _bind(listener: socket.socket, path: Path) -> int:
    """Bind where only the owner may connect, before anybody could; gives the file's inode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_unserved(path)
        listener.bind(str(path))
        path.chmod(0o600)
        return path.stat().st_ino
    except OSError as error:
        raise PermanentError(
            f"cannot serve the status socket {path}: {error.strerror or error}"
        ) from error


def _remove_unserved(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise PermanentError(
                f"cannot serve the status socket {path}: something that is no socket is there"
            )
    except FileNotFoundError:
        return
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


def _remove(path: Path, inode: int) -> None:
    """Remove the socket file unless somebody has put another in its place."""
    with suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: Mapping[str, Answer]
) -> None:
    try:
        with suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(_PATIENCE):
                line = await reader.readline()
            writer.write((await _answer(line, answers)).encode() + b"\n")
            await writer.drain()
    finally:
        writer.close()


async def _answer(line: bytes, answers: Mapping[str, Answer]) -> str:
    """The answer as JSON text; what cannot be answered is ``{"error": SENTENCE}``."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return json.dumps({"error": "the request is not a line of JSON"})
    command = request.get("command") if isinstance(request, dict) else None
    answer = answers.get(command) if isinstance(command, str) else None
    if answer is None:
        asked = f"unknown command {command!r}: ask for {', '.join(sorted(answers))}"
        return json.dumps({"error": asked})
    try:
        return json.dumps(await answer())
    except FlannelError as error:
        return json.dumps({"error": str(error)})
    except Exception as error:  # a plugin's defect: the asker should not take us for dead
        _log.exception("the answer to %s failed", command)
        return json.dumps(
            {"error": f"the daemon failed to answer ({type(error).__name__}: {error})"}
        )
