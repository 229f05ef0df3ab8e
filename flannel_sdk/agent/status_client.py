"""Asks a running agent on its status socket: one JSON line there, one JSON line back."""

import json
import socket
from pathlib import Path

from flannel_sdk.errors import PermanentError

_PATIENCE = 30.0
"""Seconds; a plan reads the kernel's tables."""


def ask(path: Path, command: str) -> object:
    """The daemon's answer to ``command``; PermanentError if there is none or it is an error."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(str(path))
            connection.sendall(json.dumps({"command": command}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer: object = json.loads(stream.readline())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise PermanentError(
            f"no daemon answers at {path} ({reason}): is flannel-sdk daemon running, "
            "and with this --status-socket?"
        ) from error
    if isinstance(answer, dict) and "error" in answer:
        raise PermanentError(str(answer["error"]))
    return answer
