"""The watch of a key range that outlives connections, servers and tokens."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from flannel_sdk.errors import FlannelError, PermanentError, StoreUnavailable
from flannel_sdk_etcd.errors import Compacted
from flannel_sdk_etcd.records import WatchBatch
from flannel_sdk_etcd.schema import WatchCreateRequest
from flannel_sdk_etcd.transport import CallFailed, Connection, Failure
from flannel_sdk_etcd.watch_history import WatchHistory
from flannel_sdk_etcd.watch_recovery import Recovery
from flannel_sdk_etcd.watch_stream import WatchStream

SILENCE_SECONDS = 4.0
"""Without a response for so long, one is asked for; after as long again the server is left."""


class WatchSource(Protocol):
    """Where a watch gets its connections: the client."""

    closed: asyncio.Event
    """Set when the client is closed; its watches then end."""

    async def connected(self) -> tuple[Connection, str | None]:
        """The preferred endpoint, connected, and a valid token where users are authenticated.

        CallFailed or StoreUnavailable if no endpoint answers. A PermanentError only as long as
        nothing has worked yet.
        """
        ...

    def failed(self, connection: Connection, error: CallFailed) -> StoreUnavailable:
        """Prefer another endpoint from now on; forget the token if it was refused.

        Gives the error as people should read it.
        """
        ...

    def heard(self) -> None:
        """A server has answered a watch, be it only that there is nothing new."""
        ...


def watch(
    source: WatchSource,
    key: bytes,
    range_end: bytes,
    start_revision: int,
    *,
    silence: float = SILENCE_SECONDS,
) -> AsyncGenerator[WatchBatch, None]:
    """Every change from ``start_revision`` (> 0) on, each once and in order, until closed.

    ``range_end`` is etcd's: empty for ``key`` alone. Reconnects inside, for ever; ends when the
    source is closed. Raises Compacted where changes cannot be had any more, a PermanentError of
    ``connected`` before the first success, and defects. A response is read when the batch after
    the last one is asked for, so a slow consumer slows the server down. Close it with ``aclosing``.
    """
    return _Watch(source, key, range_end, start_revision, silence).batches()


class _Watch:
    def __init__(
        self, source: WatchSource, key: bytes, range_end: bytes, start_revision: int, silence: float
    ) -> None:
        self._source = source
        self._key = key
        self._range_end = range_end
        self._silence = silence
        self._history = WatchHistory(start_revision)
        doing = f"watching {key.decode(errors='backslashreplace')}"
        self._recovery = Recovery(doing, source.closed, silence)

    async def batches(self) -> AsyncGenerator[WatchBatch, None]:
        while not self._source.closed.is_set():
            connection, token = None, None
            self._recovery.connecting()
            try:
                connection, token = await self._source.connected()
                async with aclosing(self._stream(connection, token)) as stream:
                    while True:
                        response = await stream.next()
                        self._source.heard()
                        batch = self._history.take(response, time.monotonic())
                        self._recovery.heard(response, is_new=batch is not None)
                        if batch is not None:
                            yield batch
            except Compacted:
                raise
            except FlannelError as error:
                await self._heal(error, connection, has_token=token is not None)

    async def _heal(
        self, error: FlannelError, connection: Connection | None, *, has_token: bool
    ) -> None:
        """Return when it is time to connect again; raise what connecting again does not heal."""
        said = error
        if isinstance(error, PermanentError) and not self._recovery.has_ever_worked:
            raise error
        if isinstance(error, CallFailed) and connection is not None:
            if error.failure is Failure.COMPACTED:
                raise self._history.compacted() from error
            error = self._recovery.judged(error, has_token=has_token)
            said = self._source.failed(connection, error)
        await self._recovery.wait_out(error, said)

    def _stream(self, connection: Connection, token: str | None) -> WatchStream:
        self._history.new_stream(f"etcd at {connection.endpoint}")
        create = WatchCreateRequest(
            key=self._key,
            range_end=self._range_end,
            start_revision=self._history.asked_from,
            progress_notify=True,
        )
        return WatchStream(connection, token, create, self._silence, self._recovery.patience)
