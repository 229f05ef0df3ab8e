"""Runs iproute2's ``ip`` on batches of commands: one process for each namespace."""

import asyncio
from collections.abc import Sequence

from flannel_sdk.lab.errors import LabError


async def ip_batch(
    commands: Sequence[str], *, netns: str | None = None, keep_going: bool = False
) -> None:
    """Run ``commands`` (without the leading ``ip``) in order, in ``netns`` if given.

    LabError with iproute2's own words at the first that fails; ``keep_going`` runs all of them and
    ignores failures.
    """
    if not commands:
        return
    argv = ["ip", *(["-force"] if keep_going else []), *(["-n", netns] if netns else [])]
    text = "\n".join(commands) + "\n"
    code, _, stderr = await _run([*argv, "-batch", "-"], text)
    if code and not keep_going:
        where = f" in {netns}" if netns else ""
        raise LabError(f"ip{where}: {_reason(stderr, commands)}")


async def ip_output(arguments: Sequence[str], *, netns: str) -> str:
    """What ``ip ARGUMENTS`` prints in ``netns``; LabError if it fails."""
    code, stdout, stderr = await _run(["ip", "-n", netns, *arguments], "")
    if code:
        raise LabError(f"ip {' '.join(arguments)} in {netns}: {stderr.strip()}")
    return stdout


async def _run(argv: Sequence[str], text: str) -> tuple[int, str, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise LabError("the lab needs the program ip: install iproute2") from error
    stdout, stderr = await process.communicate(text.encode())
    return process.returncode or 0, stdout.decode(), stderr.decode()


def _reason(stderr: str, commands: Sequence[str]) -> str:
    """iproute2 says what failed and then ``Command failed -:LINE``."""
    reason, _, line = stderr.strip().partition("Command failed -:")
    number = int(line) if line.isdigit() else 0
    command = f" (ip {commands[number - 1]})" if 0 < number <= len(commands) else ""
    return " ".join(reason.split()) + command
