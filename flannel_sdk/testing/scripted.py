"""A backend's two partners, played from a script: the peer feed and the lease acquirer."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from flannel_sdk.model import Lease, LeaseAttrs, PeerUpdate, Subnets


class ScriptedFeed:
    """A ``PeerFeed`` that says what it is told to; each ``run`` of a network reads on."""

    def __init__(self) -> None:
        self._updates: asyncio.Queue[PeerUpdate | None] = asyncio.Queue()
        self._failed = asyncio.Event()

    async def updates(self) -> AsyncGenerator[PeerUpdate, None]:
        """As ``PeerFeed.updates``."""
        while (update := await self._updates.get()) is not None:
            yield update
            self._updates.task_done()

    async def full(self, peers: Sequence[Lease] = ()) -> None:
        """Say that ``peers`` are all; returns when the backend asks for the next update."""
        await self._tell(PeerUpdate(full=True, changed=peers))

    async def change(self, changed: Sequence[Lease] = (), removed: Sequence[Subnets] = ()) -> None:
        """Say what changed; returns when the backend asks for the next update."""
        await self._tell(PeerUpdate(full=False, changed=changed, removed=removed))

    async def close(self) -> None:
        """End the stream."""
        await self._updates.put(None)

    def fail(self) -> None:
        """The network has ended: whoever waits for it, now or later, gets an AssertionError."""
        self._failed.set()

    async def _tell(self, update: PeerUpdate) -> None:
        await self._updates.put(update)
        applied = asyncio.create_task(self._updates.join())
        failed = asyncio.create_task(self._failed.wait())
        try:
            await asyncio.wait([applied, failed], return_when=asyncio.FIRST_COMPLETED)
            if not applied.done():
                raise AssertionError("the network ended before it asked for the next update")
        finally:
            applied.cancel()
            failed.cancel()


class ScriptedLeases:
    """A ``LeaseAcquirer`` that gives ``subnets``; ``published`` is what it was told, in order."""

    def __init__(self, subnets: Subnets) -> None:
        self.subnets = subnets
        self.published: list[LeaseAttrs] = []

    async def acquire_lease(self, attrs: LeaseAttrs) -> Lease:
        """As ``LeaseAcquirer.acquire_lease``."""
        self.published.append(attrs)
        return Lease(self.subnets, attrs)
