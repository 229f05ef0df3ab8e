"""Runs one command: in the backend's namespace, with a time limit, and with its output bounded."""

import asyncio
import logging
from collections.abc import Mapping

from flannel_sdk.errors import ConfigError, RetryableError
from flannel_sdk.toolkit import child_process
from flannel_sdk_extension.options import VARIABLES, Command

_log = logging.getLogger(__name__)

MOST_OUTPUT = 2**16
"""Bytes that are kept of what a command prints; the rest is read and dropped."""

_LAST_OUTPUT_SECONDS = 0.2
"""For the end of the output of a command that has ended, but left something in the background."""


class Output:
    """What a command printed to one of its two outputs."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.overflowed = False

    async def take(self, stream: asyncio.StreamReader) -> None:
        """Read to the end."""
        while chunk := await stream.read(2**16):
            kept = chunk[: MOST_OUTPUT - len(self.data)]
            self.data += kept
            self.overflowed |= len(kept) < len(chunk)

    def last_line(self) -> str:
        """The last one that is not blank, shortened and printable; empty where there is none."""
        lines = self.data.decode("utf-8", "replace").split("\n")
        line = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return "".join(c if c.isprintable() else "?" for c in line[:200])


async def run_command(
    command: Command,
    variables: Mapping[str, str | None],
    text: str,
    *,
    netns: str | None,
    timeout: int,
) -> Output:
    """Give it ``text`` and a newline on its standard input; what it printed to the standard output.

    RetryableError if it fails, or takes longer than ``timeout`` seconds: then it is ended with all
    that it started. What it leaves in the background when it ends by itself goes on.
    """
    told: dict[str, str | None] = {name: variables.get(name) for name in VARIABLES}
    printed, complaints = Output(), Output()
    try:
        async with (
            asyncio.timeout(timeout),
            child_process(
                command.argv(told), netns=netns, variables=told, spare_background=True
            ) as child,
            asyncio.TaskGroup() as tasks,
        ):
            reading = [
                tasks.create_task(printed.take(child.stdout)),
                tasks.create_task(complaints.take(child.stderr)),
            ]
            await child.write(text.encode() + b"\n")
            child.close_stdin()
            code = await child.wait()
            await asyncio.wait(reading, timeout=_LAST_OUTPUT_SECONDS)
            for task in reading:
                task.cancel()
    except TimeoutError as error:
        raise RetryableError(
            f"{command.key} did not end within {timeout} s and was killed: see what it waits for,"
            " or raise Backend.Timeout"
        ) from error
    except OSError as error:
        raise RetryableError(f"{command.key} cannot be started: {error.strerror}") from error
    if code != 0:
        raise RetryableError(_failure(command.key, code, complaints, printed))
    _log.debug("%s: done", command.key)
    return printed


def _failure(key: str, code: int, complaints: Output, printed: Output) -> str:
    how = f"failed with exit code {code}" if code > 0 else f"was ended by signal {-code}"
    words = complaints.last_line() or printed.last_line()
    return f"{key} {how}: {words}" if words else f"{key} {how}, and printed nothing"


def published_text(command: Command, printed: Output) -> str:
    """What PreStartupCommand tells the peers; ConfigError if that is nothing to publish."""
    problem = None
    if printed.overflowed:
        problem = f"more than {MOST_OUTPUT} bytes"
    try:
        text = printed.data.decode().strip()
    except UnicodeDecodeError:
        problem = "what is not UTF-8"
    if problem is not None:
        raise ConfigError(
            command.key, f"{command.key} prints {problem}, but all peers read it: print less."
        )
    return text
