"""What each peer needs and what was done for it: brings one to the other, and tries again."""

import asyncio
import heapq
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing

from flannel_sdk.backoff import Backoff
from flannel_sdk.errors import FlannelError, MalformedEntry, RetryableError
from flannel_sdk.interfaces import PeerFeed
from flannel_sdk.model import Lease, PeerUpdate, Subnets
from flannel_sdk.task_groups import single_error
from flannel_sdk.toolkit import Refusals
from flannel_sdk_extension.memory import PeerMemory

_log = logging.getLogger(__name__)

MOST_TOLD = 100
"""Failing peers beyond this many are counted, and neither logged nor listed."""

_REMOVAL_TRIES = 5
"""What takes a peer away may fail because it is away."""

PeerCommand = Callable[[Lease], Coroutine[object, object, None]]


class _Failure:
    """A peer that is being tried again."""

    def __init__(self) -> None:
        self.backoff = Backoff(first=0.5, limit=60.0)
        self.tries = 0
        self.reason = ""


class PeerCommands:
    """Runs ``add`` and ``remove`` until each peer is as the feed says; for one ``run`` at a time.

    ``memory`` outlives this object, so that a later run takes away what is gone by then.
    """

    def __init__(
        self,
        add: PeerCommand,
        remove: PeerCommand,
        check: Callable[[Lease], None],
        memory: PeerMemory,
        *,
        parallel: int,
        repeat: float,
    ) -> None:
        """``check`` raises MalformedEntry for a lease that cannot be served.

        ``repeat``: seconds until ``add`` is run again for a peer that it worked for; 0: never.
        """
        self._add, self._remove, self._check = add, remove, check
        self._memory = memory
        self._parallel = parallel
        self._repeat = repeat
        self._refusals = Refusals(_log)
        self._forget()

    def _forget(self) -> None:
        self._wanted: dict[Subnets, Lease] = {}
        self._failures: dict[Subnets, _Failure] = {}
        self._untried: set[Subnets] = set()
        """Peers of the last update for which nothing was tried yet."""
        self._queue: list[tuple[float, int, Subnets]] = []
        self._due: dict[Subnets, int] = {}
        """The number of each peer's entry in the queue that counts."""
        self._busy: set[Subnets] = set()
        self._number = 0
        self._queued, self._tried = asyncio.Event(), asyncio.Event()
        self._refusals.clear()

    async def run(self, peers: PeerFeed) -> None:
        """As ``Network.run``. An update holds once each command of it was tried."""
        self._forget()
        with single_error():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._work())
                async with aclosing(peers.updates()) as updates:
                    async for update in updates:
                        self._take(update)
                        await self._all_tried()
                raise RetryableError("the feed of peers ended")

    def status(self) -> Mapping[str, object]:
        """JSON-ready counts, and why peers fail."""
        failing = list(self._failures.items())[:MOST_TOLD]
        return {
            "peers": {"known": len(self._wanted), "refused": self._refusals.by_reason()},
            "failing": {
                "count": len(self._failures),
                "reasons": {_name(peer): failure.reason for peer, failure in failing},
            },
        }

    def _take(self, update: PeerUpdate) -> None:
        wanted = {lease.subnets: lease for lease in update.changed if self._is_served(lease)}
        touched = [*(lease.subnets for lease in update.changed), *update.removed]
        if update.full:
            touched += (self._memory.leases.keys() | self._wanted.keys()) - set(touched)
        for peer in touched:
            self._wanted.pop(peer, None)
            self._failures.pop(peer, None)
        self._wanted.update(wanted)
        for peer in touched:
            if peer in wanted or peer in self._memory.leases:
                self._untried.add(peer)
                self._schedule(peer, 0.0)

    def _is_served(self, lease: Lease) -> bool:
        self._refusals.forget([lease.subnets])
        try:
            self._check(lease)
        except MalformedEntry as error:
            self._refusals.add(lease.subnets, str(error))
            return False
        return True

    async def _all_tried(self) -> None:
        while self._untried:
            self._tried.clear()
            await self._tried.wait()

    def _schedule(self, peer: Subnets, delay: float) -> None:
        self._number += 1
        self._due[peer] = self._number
        due = asyncio.get_running_loop().time() + delay
        heapq.heappush(self._queue, (due, self._number, peer))
        self._queued.set()

    async def _work(self) -> None:
        free = asyncio.Semaphore(self._parallel)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await free.acquire()
                peer = await self._next_due()
                trying = tasks.create_task(self._try(peer))
                trying.add_done_callback(lambda _: free.release())

    async def _next_due(self) -> Subnets:
        while True:
            self._queued.clear()
            now = asyncio.get_running_loop().time()
            while self._queue and self._queue[0][0] <= now:
                _, number, peer = heapq.heappop(self._queue)
                if self._due.get(peer) != number:
                    continue
                del self._due[peer]
                if peer in self._busy:  # it is tried again when that ends
                    self._due[peer] = 0
                    continue
                self._busy.add(peer)
                return peer
            delay = self._queue[0][0] - now if self._queue else None
            try:
                async with asyncio.timeout(delay):
                    await self._queued.wait()
            except TimeoutError:
                pass

    async def _try(self, peer: Subnets) -> None:
        wanted = self._wanted.get(peer)
        try:
            await self._bring(peer, wanted)
        except FlannelError as error:
            if self._wanted.get(peer) is wanted:
                await self._failed(peer, wanted, str(error))
        else:
            if self._failures.pop(peer, None) is not None:
                _log.info("peer %s: works again", _name(peer))
            if self._repeat and wanted is not None and peer not in self._due:
                self._schedule(peer, self._repeat)
        self._busy.discard(peer)
        if self._due.get(peer) == 0:
            self._schedule(peer, 0.0)
        if self._wanted.get(peer) is wanted:
            self._untried.discard(peer)
            self._tried.set()

    async def _bring(self, peer: Subnets, wanted: Lease | None) -> None:
        made = self._memory.leases.get(peer)
        if made is not None and (wanted is None or made.attrs != wanted.attrs):
            try:
                await self._remove(made)
            except FlannelError as error:
                if wanted is None:
                    raise
                _log.warning("peer %s, as it was before: %s", _name(peer), error)
            await self._memory.drop(peer)
        if wanted is not None:
            await self._memory.keep(peer, wanted)
            await self._add(wanted)

    async def _failed(self, peer: Subnets, wanted: Lease | None, reason: str) -> None:
        failure = self._failures.setdefault(peer, _Failure())
        failure.tries += 1
        gives_up = wanted is None and failure.tries >= _REMOVAL_TRIES
        if (failure.tries == 1 or gives_up) and len(self._failures) <= MOST_TOLD:
            outlook = "given up" if gives_up else "trying again"
            _log.warning("peer %s: %s; %s", _name(peer), reason, outlook)
        failure.reason = reason
        if gives_up:
            del self._failures[peer]
            await self._memory.drop(peer)
        else:
            self._schedule(peer, failure.backoff.next_delay())


def _name(peer: Subnets) -> str:
    return " ".join(str(subnet) for _, subnet in peer.items_by_family())
