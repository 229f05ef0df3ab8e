"""Over any breaks a watch delivers each change once and in order, or says that it cannot."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from random import Random

from flannel_sdk_etcd.endpoints import Endpoint
from flannel_sdk_etcd.errors import Compacted
from flannel_sdk_etcd.schema import EventMessage, WatchRequest
from flannel_sdk_etcd.transport import CallFailed, Connection, Method
from flannel_sdk_etcd.watch import watch
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from flannel_sdk.errors import StoreUnavailable
from flannel_sdk.testing import virtual_time
from plugins.etcd.tests.scripted_transport import (
    answered,
    broken,
    canceled,
    created,
    events,
    progress,
    put,
)

START = 10
Change = tuple[int, bytes]


class RandomServer:
    """WatchSource and Connection: a history that is sent in random pieces, over random breaks."""

    def __init__(self, random: Random, sizes: list[int], compactions: int) -> None:
        self.closed = asyncio.Event()
        self.endpoint = Endpoint("127.0.0.1", 1, secure=False)
        self.history: list[list[EventMessage]] = []
        self._random = random
        self._compactions = compactions
        self._compacted = 0
        revision = START
        for size in sizes:
            self.history.append([put(revision, b"%d" % n) for n in range(size)])
            # Changes of other keys lie between.
            revision += random.choice((1, 1, 7))
        self.head = revision + 50

    def changes(self) -> list[Change]:
        return [(event.kv.mod_revision, event.kv.key) for group in self.history for event in group]

    async def connected(self) -> tuple[Connection, str | None]:
        if self._random.random() < 0.2:
            raise broken("refused")
        return self, None

    def failed(self, connection: Connection, error: CallFailed) -> StoreUnavailable:
        if self._compactions and self._random.random() < 0.3:
            self._compactions -= 1
            at = self._random.choice(self.history)[0].kv.mod_revision
            self._compacted = max(self._compacted, at + self._random.choice((0, 0, 1, 50)))
        return StoreUnavailable(str(error))

    def heard(self) -> None:
        """Nobody asks."""

    async def connect(self, timeout: float) -> None:
        raise NotImplementedError

    async def call(
        self, method: Method, request: Message, *, token: str | None, timeout: float
    ) -> Message:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError

    async def stream(
        self, method: Method, requests: AsyncIterator[Message], *, token: str | None
    ) -> AsyncGenerator[Message, None]:
        request = await anext(requests)
        assert isinstance(request, WatchRequest)
        start = request.create_request.start_revision
        if start < self._compacted:
            if self._random.random() < 0.5:
                yield created(self.head)
            yield canceled(compact_revision=self._compacted, created=self._random.random() < 0.5)
            return
        yield created(self.head)
        # A member may repeat what is older than what was asked for (etcd#20221).
        repeats = self._random.random() < 0.2
        left = [g for g in self.history if repeats or g[0].kv.mod_revision >= start]
        # What was removed at the compacted revision itself is lost too (etcd#18089).
        left = [g for g in left if g[0].kv.mod_revision > self._compacted]
        sent = start - 1
        while left:
            count = self._random.randint(1, 3)
            groups, left = left[:count], left[count:]
            pieces = _pieces(self._random, [event for group in groups for event in group])
            for number, piece in enumerate(pieces):
                await self._disturb()
                more = number < len(pieces) - 1
                yield events(*piece, at=self.head, fragment=more)
                if self._random.random() < 0.2:
                    yield answered(self.head)
            sent = max(sent, groups[-1][-1].kv.mod_revision)
            if self._random.random() < 0.3:
                # All before the next change was sent; a lagging member may say less.
                next_one = left[0][0].kv.mod_revision if left else self.head + 1
                yield progress(self._random.randint(START, max(START, next_one - 1)))
        await self._disturb()
        await asyncio.sleep(1e6)

    async def _disturb(self) -> None:
        chance = self._random.random()
        if chance < 0.1:
            raise broken()
        if chance < 0.15:
            await asyncio.sleep(self._random.choice((1, 5, 100)))


def _pieces(random: Random, messages: list[EventMessage]) -> list[list[EventMessage]]:
    """Cut where a fragment may be cut: anywhere, also inside a revision."""
    pieces: list[list[EventMessage]] = [[]]
    for message in messages:
        if pieces[-1] and random.random() < 0.3:
            pieces.append([])
        pieces[-1].append(message)
    return pieces


async def _delivered(server: RandomServer) -> tuple[list[Change], bool]:
    """What a watch delivered until all was, or until it said Compacted."""
    found: list[Change] = []
    wanted = len(server.changes())
    try:
        async with (
            asyncio.timeout(20_000),
            aclosing(watch(server, b"k", b"l", START)) as batches,
        ):
            while len(found) < wanted:
                batch = await anext(batches)
                assert batch.revision == batch.events[-1].entry.mod_revision
                found += [(event.entry.mod_revision, event.entry.key) for event in batch.events]
    except Compacted:
        return found, True
    return found, False


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=20),
    compactions=st.integers(0, 2),
)
def test_each_change_is_delivered_once_and_in_order(
    seed: int, sizes: list[int], compactions: int
) -> None:
    server = RandomServer(Random(seed), sizes, compactions)
    found, was_compacted = virtual_time.run(_delivered(server))
    changes = server.changes()
    assert found == changes[: len(found)]
    if not was_compacted:
        assert found == changes
        return
    assert compactions
    ends_with_a_revision = not found or found[-1][0] not in dict(changes[len(found) :])
    assert ends_with_a_revision
