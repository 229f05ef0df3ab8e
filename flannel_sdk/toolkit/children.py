"""A backend's child processes: process groups in the backend's namespace, never left behind."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import IO

from flannel_sdk.netns import run_in_netns
from flannel_sdk.threads import in_thread, until_done

GRACE_SECONDS = 0.5
"""Between SIGTERM and SIGKILL: with it a cancelled ``Network.run`` ends within its second."""

_NO_VARIABLES: Mapping[str, str | None] = {}


class _Flow(asyncio.BaseProtocol):
    """Tells a writer when the pipe takes more."""

    def __init__(self) -> None:
        self.is_over = False
        self.ready = asyncio.Event()
        self.ready.set()

    def pause_writing(self) -> None:
        self.ready.clear()

    def resume_writing(self) -> None:
        self.ready.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over = True
        self.ready.set()


class ChildProcess:
    """A running child, as ``child_process`` gives it."""

    def __init__(
        self,
        pid: int,
        stdin: tuple[asyncio.WriteTransport, _Flow],
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
        exited: asyncio.Event,
    ) -> None:
        self.pid = pid
        """Also the id of its process group."""
        self.stdout = stdout
        self.stderr = stderr
        """At its end from the start where ``merge_stderr``."""
        self._stdin, self._flow = stdin
        self._exited = exited

    async def write(self, data: bytes) -> None:
        """To its standard input; waits while the pipe is full. What it does not read is lost."""
        if not self._stdin.is_closing():
            self._stdin.write(data)
            await self._flow.ready.wait()

    def close_stdin(self) -> None:
        """Let it read to the end of what was written."""
        self._stdin.close()

    async def wait(self) -> int:
        """Its exit code once it has ended; ``-N`` where signal N ended it."""
        await self._exited.wait()
        return _exit_code(self.pid)


@asynccontextmanager
async def child_process(
    argv: Sequence[str],
    *,
    netns: str | None,
    variables: Mapping[str, str | None] = _NO_VARIABLES,
    merge_stderr: bool = False,
    line_limit: int = 2**16,
    spare_background: bool = False,
) -> AsyncIterator[ChildProcess]:
    """Run ``argv`` in ``netns`` (``BackendContext.netns``) while the block lasts.

    Its environment is ours without flanneld's variables, some of which are secrets, and with
    ``variables``; None takes one away. ``line_limit`` bounds, in bytes, what ``readuntil`` of its
    outputs takes. At the end of the block what still runs gets SIGTERM and after GRACE_SECONDS
    SIGKILL, its whole group; ``spare_background`` spares the group of a child that ended by itself.
    OSError where it cannot be started.
    """
    process = await _spawned(argv, netns, _environment(variables), merge_stderr)
    exited = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.callback(_reap, process, exited)
        _watch(process.pid, exited, stack)
        stdin = await _writer(process.stdin, stack)
        stdout = await _reader(process.stdout, line_limit, stack)
        stderr = await _reader(process.stderr, line_limit, stack)
        stack.push_async_callback(_end, process.pid, exited, spare_background)
        yield ChildProcess(process.pid, stdin, stdout, stderr, exited)


def _environment(variables: Mapping[str, str | None]) -> dict[str, str]:
    inherited = {k: text for k, text in os.environ.items() if not k.startswith("FLANNELD_")}
    merged = {**inherited, **variables}
    return {name: text for name, text in merged.items() if text is not None}


async def _spawned(
    argv: Sequence[str], netns: str | None, environment: Mapping[str, str], merge_stderr: bool
) -> "subprocess.Popen[bytes]":
    """Started in a thread, for it blocks until the program is loaded."""

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge_stderr else subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            env=environment,
        )

    return await in_thread(lambda: run_in_netns(netns, start), _kill)


def _kill(unwanted: "subprocess.Popen[bytes]") -> None:
    with unwanted:  # closes its pipes and reaps it
        _signal_group(unwanted.pid, signal.SIGKILL)


def _watch(pid: int, exited: asyncio.Event, stack: AsyncExitStack) -> None:
    """Set ``exited`` when the process ends; it stays a zombie until it is reaped."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(pid)
    stack.callback(os.close, descriptor)

    def note() -> None:
        loop.remove_reader(descriptor)
        exited.set()

    loop.add_reader(descriptor, note)
    stack.callback(loop.remove_reader, descriptor)


async def _writer(
    pipe: IO[bytes] | None, stack: AsyncExitStack
) -> tuple[asyncio.WriteTransport, _Flow]:
    assert pipe is not None
    transport, flow = await asyncio.get_running_loop().connect_write_pipe(_Flow, pipe)
    stack.callback(lambda: None if flow.is_over else transport.abort())
    return transport, flow


async def _reader(
    pipe: IO[bytes] | None, limit: int, stack: AsyncExitStack
) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit)
    if pipe is None:
        reader.feed_eof()
        return reader
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    stack.callback(transport.close)
    return reader


async def _end(pid: int, exited: asyncio.Event, spare_background: bool) -> None:
    by_itself = exited.is_set()
    try:
        if not by_itself:
            _signal_group(pid, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_SECONDS):
                    await exited.wait()
    finally:
        # While the leader is not reaped its number, which is the group's, is nobody else's.
        if not (by_itself and spare_background):
            _signal_group(pid, signal.SIGKILL)
        await until_done(asyncio.ensure_future(exited.wait()))


def _exit_code(pid: int) -> int:
    """Of a child that has ended, and stays a zombie."""
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:  # an embedder ignores SIGCHLD: the kernel keeps no exit codes
        ended = None
    if ended is None:
        return 255
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _reap(process: "subprocess.Popen[bytes]", exited: asyncio.Event) -> None:
    if not exited.is_set():  # opening its pipes failed
        _signal_group(process.pid, signal.SIGKILL)
    with process:
        pass


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
