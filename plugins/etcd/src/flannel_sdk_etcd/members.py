"""The members of a cluster: one connection each, the preferred one first, and who has failed."""

import asyncio
import time
from collections.abc import Sequence

from flannel_sdk.backoff import Backoff
from flannel_sdk_etcd.clock import loop_time
from flannel_sdk_etcd.endpoints import Endpoint
from flannel_sdk_etcd.transport import CallFailed, Connection, Transport

_PATIENCE = 1.0
"""Seconds after which the next member is tried too; a connection in the making goes on."""

_SHORT = 0.5
"""Seconds; an attempt that had less and was late says less of a member than one before it."""


class NoMember(Exception):
    """No member could be connected; says why of each. Never leaves the client."""

    def __init__(self, failures: dict[Endpoint, CallFailed]) -> None:
        super().__init__("no member")
        self.failures = failures


class Members:
    """Connections in order of preference: one that failed goes to the end."""

    def __init__(self, transport: Transport, endpoints: Sequence[Endpoint]) -> None:
        self._connections = [transport.connection(endpoint) for endpoint in endpoints]
        self.has_worked = False
        """Whether any request has been answered; set by who asked."""
        self.closed = asyncio.Event()
        self.heard_at: float | None = None
        """``time.monotonic()`` of the newest answer of any member."""

    def heard(self) -> None:
        """A member has answered just now."""
        self.heard_at = time.monotonic()

    @property
    def is_single(self) -> bool:
        """Whether there is no other member to turn to."""
        return len(self._connections) == 1

    async def connected(self, deadline: float) -> Connection:
        """The preferred member that can be connected before ``deadline`` (loop time); NoMember.

        Until something has worked, a round in which each member definitely failed is enough.
        """
        backoff = Backoff(0.1, 1.0)
        failures: dict[Endpoint, CallFailed] = {}
        while True:
            is_definite = True
            for connection in tuple(self._connections):
                started_at = loop_time()
                patience = self._patience(deadline - started_at)
                try:
                    await connection.connect(patience)
                except CallFailed as error:
                    # Who took all the time that there was may only be slow.
                    was_late = loop_time() - started_at >= 0.9 * patience
                    is_definite &= not was_late
                    if not (was_late and patience < _SHORT) or connection.endpoint not in failures:
                        # Its traceback holds this frame, which would hold it and the connection.
                        failures[connection.endpoint] = error.with_traceback(None)
                    self.failed(connection)
                else:
                    return connection
            if is_definite and not self.has_worked:
                raise NoMember(failures)
            if not await self.pause(backoff.next_delay(), deadline):
                raise NoMember(failures)

    async def pause(self, delay: float, deadline: float) -> bool:
        """Wait before the next attempt; False, at once, if there is no time for one, or closed."""
        if loop_time() + delay >= deadline or self.closed.is_set():
            return False
        try:
            async with asyncio.timeout(delay):
                await self.closed.wait()
        except TimeoutError:
            return True
        return False

    def failed(self, connection: Connection) -> None:
        """Prefer the others from now on."""
        self._connections.remove(connection)
        self._connections.append(connection)

    async def aclose(self) -> None:
        """Close all connections; what waits ends. Idempotent."""
        self.closed.set()
        for connection in self._connections:
            await connection.aclose()

    def _patience(self, left: float) -> float:
        return max(0.001, left if self.is_single else min(left, _PATIENCE))
