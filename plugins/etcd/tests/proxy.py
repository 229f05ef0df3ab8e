"""A TCP proxy on loopback that passes, delays, falls silent or cuts, as a test says."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeAlias

_CHUNK = 65536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards connections to one port; an async context manager.

    Silent means: connections stay, new ones are accepted by the kernel at most, and no byte gets
    through in either direction until ``heal``; what was sent meanwhile then arrives.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._down = False
        self._links: set[asyncio.Task[None]] = set()
        self._sockets: set[asyncio.StreamWriter] = set()
        self.delay = 0.0
        """Seconds that each chunk waits, in each direction."""
        self.accepted = 0
        """How many connections were taken."""
        self.passed = 0
        """Bytes that went through, in both directions."""
        self.port = 0

    @property
    def open_connections(self) -> int:
        return len(self._links)

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        """The endpoint that goes through here."""
        return f"{scheme}://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._link, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._links, return_exceptions=True)
        await self._server.wait_closed()

    def silence(self) -> None:
        """Let nothing through any more, without closing anything."""
        self._passing.clear()

    def heal(self) -> None:
        """Pass everything again, at once; new connections are taken again too."""
        self._passing.set()
        self._down = False
        self.delay = 0.0

    def refuse(self) -> None:
        """Reset all connections, and each new one as soon as it comes."""
        self._down = True
        self.cut()

    def cut(self) -> None:
        """Reset all connections (RST); new ones are taken."""
        for writer in list(self._sockets):
            _reset(writer)
        for link in list(self._links):
            link.cancel()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._down:
            _reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        self._links.add(task)
        self._sockets.add(writer)
        onward: asyncio.StreamWriter | None = None
        try:
            await self._passing.wait()
            back, onward = await asyncio.open_connection(*self._target)
            self._sockets.add(onward)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, onward))
                group.create_task(self._pump(back, writer))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            _reset(writer)  # the target is gone or was never there, or we cut: no orderly end
        finally:
            self._links.discard(task)
            for end in (writer, onward):
                if end is not None:
                    self._sockets.discard(end)
                    end.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(_CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._passing.wait()
            sink.write(chunk)
            await sink.drain()
            self.passed += len(chunk)
        await self._passing.wait()
        with contextlib.suppress(OSError):
            sink.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    end = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


OpenProxy: TypeAlias = Callable[[int], Awaitable[Proxy]]
"""A proxy to this port, which ends with the test."""
