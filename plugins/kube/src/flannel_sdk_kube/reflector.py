"""The reflector: all nodes once, then every real difference, over whatever the server does."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from flannel_sdk.backoff import Backoff, Complaint
from flannel_sdk.errors import FlannelError, PermanentError
from flannel_sdk_kube.failures import CallFailed, Failure
from flannel_sdk_kube.http_failures import told
from flannel_sdk_kube.known_nodes import KnownNodes
from flannel_sdk_kube.node_api import INITIAL_SILENCE_SECONDS, EventBatches, NodeSource
from flannel_sdk_kube.node_client import NodeDelta, NodeEntry, NodeSnapshot
from flannel_sdk_kube.slimming import Event, Page

_log = logging.getLogger(__name__)

HEALTHY_SECONDS: Final = 10.0
"""That a watch has to last for the next try to count as the first."""
_FRUITLESS_RESUMES: Final = 3
"""Refused one after the other, after which the list is fetched again."""

Item = NodeSnapshot | NodeDelta
_QUIET: Final = frozenset({Failure.SILENT, Failure.EXPIRED})


class Reflector:
    """One watch. It reads only while it is asked for the next item: a slow reader makes the server
    wait, and in the end cut the watch off, which costs a list and loses nothing.
    """

    def __init__(
        self,
        source: NodeSource,
        selector: str | None,
        to_error: Callable[[CallFailed], FlannelError],
    ) -> None:
        """``selector``: a field selector; ``to_error``: makes the error for people."""
        self._source = source
        self._selector = selector
        self._to_error = to_error
        self._known = KnownNodes()
        self._position: str | None = None
        """The resourceVersion up to which all is known; None: list."""
        self._is_in_doubt = False
        """Whether the server may have been put back to before the position since."""
        self._was_silent = False
        self._revision = 0
        self._has_told = False
        self._healthy_since: float | None = None
        self._expired = 0
        self._refused = 0
        self._backoff = Backoff()
        self._complaint = Complaint(_log, f"watching nodes{f' ({selector})' if selector else ''}")

    async def items(self) -> AsyncGenerator[Item, None]:
        """See NodeClient.watch_nodes; ends only where the client is closed."""
        while True:
            self._healthy_since = None
            failed: CallFailed | FlannelError | None = None
            try:
                async with aclosing(self._session()) as session:
                    async for item in session:
                        yield item
            except CallFailed as error:
                if error.failure is Failure.CLOSED:
                    return
                failed = error
            except FlannelError as error:  # of the credentials
                failed = error
            await self._pause(failed)

    async def _session(self) -> AsyncGenerator[Item, None]:
        """One connection's worth, or a list and one connection's."""
        if self._is_at_begin():
            try:
                async with (
                    self._source.watch(self._selector, None) as batches,
                    aclosing(batches),
                ):
                    rest = await self._read_initial(batches)
                    async with aclosing(self._told_and_follow(batches, rest)) as items:
                        async for item in items:
                            yield item
                return
            except CallFailed as failed:
                if not self._is_at_begin() or not _means_pages(failed):
                    raise
            await self._read_pages()
            all_nodes = self._item(time.monotonic())
            if all_nodes is not None:
                yield all_nodes
        async with (
            self._source.watch(self._selector, self._position) as batches,
            aclosing(batches),
        ):
            if self._is_in_doubt:
                await self._check_position()
            async with aclosing(self._told_and_follow(batches, [])) as items:
                async for item in items:
                    yield item

    def _is_at_begin(self) -> bool:
        return self._position is None

    async def _check_position(self) -> None:
        """CallFailed EXPIRED where the server counts from further back, as after a restore.

        A watch from a position that it has not reached would tell nothing until it has.
        """
        position = _number(self._position)
        if position and 0 < _number(await self._source.newest()) < position:
            raise CallFailed(Failure.EXPIRED, "it was put back to an older state")
        self._is_in_doubt = False

    async def _read_initial(self, batches: EventBatches) -> list[Event]:
        """All nodes from the begin of a watch; the events after them that came with the last."""
        nodes: dict[str, NodeEntry] = {}
        grown_at, size = _now(), 0
        async for batch in batches:
            for index, event in enumerate(batch):
                if event.status is not None:
                    raise told(event.status, in_stream=True)
                if event.node is None:
                    if event.ends_initial:
                        self._replace(nodes, event.revision)
                        return batch[index + 1 :]
                elif event.kind == "DELETED":
                    nodes.pop(event.node.name, None)
                else:
                    nodes[event.node.name] = event.node
            if len(nodes) != size:
                grown_at, size = _now(), len(nodes)
            elif _now() - grown_at > INITIAL_SILENCE_SECONDS:
                break
        raise CallFailed(Failure.BROKEN, "it does not say that all nodes were told", in_stream=True)

    async def _read_pages(self) -> None:
        nodes: dict[str, NodeEntry] = {}
        page = Page([], "", "")
        while True:
            page = await self._source.page(self._selector, page.rest)
            nodes |= {node.name: node for node in page.nodes}
            if not page.rest:
                break
        self._replace(nodes, page.revision)

    def _replace(self, nodes: dict[str, NodeEntry], revision: str) -> None:
        self._known.replace(nodes)
        self._position, self._is_in_doubt = revision, False
        self._count(revision)

    async def _told_and_follow(
        self, batches: EventBatches, events: list[Event]
    ) -> AsyncGenerator[Item, None]:
        """What is known but not told, then what comes, until the watch ends."""
        self._healthy_since = _now()
        self._complaint.healed()
        while True:
            received = time.monotonic()
            failed = self._apply(events)
            if (item := self._item(received)) is not None:
                yield item
            if failed is not None:
                raise failed
            try:
                events = await anext(batches)
            except StopAsyncIteration:
                return

    def _apply(self, events: list[Event]) -> CallFailed | None:
        """Bring events into what is known, up to an error among them."""
        for event in events:
            if event.status is not None:
                return told(event.status, in_stream=True)
            if event.node is not None:
                if event.kind == "DELETED":
                    self._known.drop(event.node.name)
                else:
                    self._known.put(event.node)
            if event.revision:
                self._position = event.revision
        return None

    async def _pause(self, failed: CallFailed | FlannelError | None) -> None:
        """Wait before the next connection, as its last one and those before suggest."""
        since = self._healthy_since
        was_healthy = since is not None and _now() - since >= HEALTHY_SECONDS
        if was_healthy:
            self._backoff.reset()
            self._expired = self._refused = 0
        failure = failed.failure if isinstance(failed, CallFailed) else None
        if failed is not None and (failure is not Failure.SILENT or self._was_silent):
            self._is_in_doubt = True
        self._was_silent = failure is Failure.SILENT
        if failure is Failure.EXPIRED:
            self._position = None
            self._expired += 1
        if failed is None or failure in _QUIET:
            if not was_healthy and not (failure is Failure.EXPIRED and self._expired == 1):
                await asyncio.sleep(self._backoff.next_delay())
            return
        error, delay = failed, self._backoff.next_delay()
        if isinstance(failed, CallFailed):
            error, delay = self._to_error(failed), max(delay, failed.retry_after)
            self._count_refusal(failed)
        if isinstance(error, PermanentError) and not self._has_told:
            raise error from failed
        self._complaint.failed(error, delay)
        await asyncio.sleep(delay)

    def _count_refusal(self, failed: CallFailed) -> None:
        if failed.failure is Failure.REFUSED or (
            failed.in_stream and failed.failure is not Failure.BROKEN
        ):
            self._refused += 1
            if self._refused >= _FRUITLESS_RESUMES:
                self._position, self._refused = None, 0

    def _item(self, received_at: float) -> Item | None:
        if self._position is not None:
            self._count(self._position)
        changed, removed = self._known.take_changes()
        if not self._has_told:
            self._has_told = True
            return NodeSnapshot(list(self._known.nodes.values()), received_at, self._revision)
        if not changed and not removed:
            return None
        return NodeDelta(changed, removed, received_at, self._revision)

    def _count(self, revision: str) -> None:
        number = _number(revision)
        self._revision = max(self._revision, number) if number else self._revision + 1


def _means_pages(failed: CallFailed) -> bool:
    """Whether an initial state that was not streamed may still be had as a list."""
    if failed.failure is Failure.EXPIRED:
        return False
    return failed.in_stream or failed.failure in {Failure.REFUSED, Failure.SILENT}


def _number(revision: str | None) -> int:
    """0 for none, or one that is no number."""
    return int(revision) if revision and revision.isascii() and revision.isdecimal() else 0


def _now() -> float:
    return asyncio.get_running_loop().time()
