"""Asks a daemon on its status socket: one JSON line there, one JSON line back."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

_MAX_ANSWER_BYTES = 1 << 26


async def ask_daemon(
    socket: Path, command: str, timeout: float = 2.0
) -> Mapping[str, object] | None:
    """The daemon's answer to ``command``; None if nobody answers in ``timeout`` seconds."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_unix_connection(socket, limit=_MAX_ANSWER_BYTES)
            try:
                writer.write(json.dumps({"command": command}).encode() + b"\n")
                answer = json.loads(await reader.readline())
            finally:
                writer.close()
    except (OSError, ValueError, TimeoutError):
        return None
    return answer if isinstance(answer, dict) else None
