"""Sends operations in chunks, so that the next is encoded while the kernel works on the last."""

import asyncio
from collections import deque
from collections.abc import Sequence

from flannel_sdk.dataplane.protocol import Kernel
from flannel_sdk.dataplane.requests import Failure, Operation

_CHUNK = 4096
_DEPTH = 2
_MANY = 512
_MOMENT = 0.0005


class Pipeline:
    """A few submissions in flight; every failure of all of them."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._flying: deque[asyncio.Future[list[Failure]]] = deque()
        self.failures: list[Failure] = []
        self.written = 0
        """Rows submitted."""

    async def send(self, operations: Sequence[Operation]) -> None:
        """Submit in chunks; waits for older ones rather than queue many."""
        batch: list[Operation] = []
        room = _CHUNK
        for operation in operations:
            rows = operation.rows
            for start in range(0, len(rows), _CHUNK):
                part = operation._replace(rows=rows[start : start + _CHUNK])  # type: ignore[arg-type]  # same rows
                if len(part.rows) > room and batch:
                    await self._submit(batch)
                    batch, room = [], _CHUNK
                batch.append(part)
                room -= len(part.rows)
        if batch:
            await self._submit(batch)

    async def _submit(self, batch: list[Operation]) -> None:
        rows = sum(len(operation.rows) for operation in batch)
        self.written += rows
        idle = not self._flying
        self._flying.append(self._kernel.submit(batch))
        # A thread that has just been woken gets the GIL from a busy one after 5 ms only: be idle
        # for a moment, so that it starts. Few rows are waited for anyway.
        await asyncio.sleep(_MOMENT if idle and rows > _MANY else 0)
        while len(self._flying) > _DEPTH:
            self.failures += await self._flying.popleft()

    async def drain(self) -> list[Failure]:
        """Wait for all that is in flight; the failures of all, then none."""
        while self._flying:
            self.failures += await self._flying.popleft()
        failures, self.failures = self.failures, []
        return failures
