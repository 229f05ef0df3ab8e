"""A watch that is cancelled, at whichever step, leaves no task and no stream behind."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import aclosing
from functools import partial
from itertools import count

import pytest
from flannel_sdk_etcd.watch import watch

from flannel_sdk.errors import StoreUnavailable
from flannel_sdk.testing import virtual_time
from plugins.etcd.tests.scripted_transport import (
    HANG,
    Answer,
    ScriptedSource,
    broken,
    canceled,
    created,
    events,
    put,
)

UNAVAILABLE = StoreUnavailable("etcd does not answer")


def _eventful() -> ScriptedSource:
    """Everything that may happen to a watch, one after the other."""
    source = ScriptedSource(
        UNAVAILABLE,
        [created(), events(put(5)), broken()],
        UNAVAILABLE,
        [canceled("etcdserver: invalid auth token", created=True)],
        [canceled("etcdserver: permission denied", created=True)],
        [created(), Answer(5), events(put(6), fragment=True), events(put(6))],
        [created(), HANG],
        [created(), events(put(7))],
    )
    source.token = "abc"
    return source


class _Interrupted(Awaitable[None]):
    """A coroutine whose task is cancelled when it waits for the ``step``-th time."""

    def __init__(self, coroutine: Coroutine[object, None, None], step: int) -> None:
        self._steps = coroutine.__await__()
        self._left = step

    def __await__(self) -> Generator[object, None, None]:
        task = asyncio.current_task()
        assert task is not None
        advance: Callable[[], object] = partial(next, self._steps)
        while True:
            try:
                waits_for = advance()
            except StopIteration:
                return
            self._left -= 1
            if self._left == 0:
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                yield waits_for
            except BaseException as error:
                advance = partial(self._steps.throw, error)
            else:
                advance = partial(next, self._steps)


async def _consume(source: ScriptedSource, taken: list[int]) -> None:
    async with aclosing(watch(source, b"k", b"", 5)) as batches:
        async for batch in batches:
            taken.append(batch.revision)
            await asyncio.sleep(0)
            if batch.revision == 7:
                return


def _cancelled_at(step: int) -> tuple[bool, list[int]]:
    """Whether the watch was cancelled before it was through, and what it had delivered."""

    async def main() -> tuple[bool, list[int]]:
        source = _eventful()
        taken: list[int] = []

        async def interrupted() -> None:
            await _Interrupted(_consume(source, taken), step)

        task = asyncio.create_task(interrupted())
        await asyncio.wait([task])
        assert all(stream.closed_at is not None for stream in source.streams), step
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}, step
        if not task.cancelled():
            await task
        return task.cancelled(), taken

    return virtual_time.run(main())


def test_cancelled_at_any_step_a_watch_leaves_nothing_behind() -> None:
    outcomes = []
    for step in count(1):
        was_cancelled, taken = _cancelled_at(step)
        outcomes.append(taken)
        if not was_cancelled:
            break
    assert outcomes[-1] == [5, 6, 7]
    assert [len(taken) for taken in outcomes] == sorted(len(taken) for taken in outcomes)
    assert len(outcomes) > 30


async def test_a_watch_that_waits_to_connect_again_closes_at_once() -> None:
    source = ScriptedSource(*[UNAVAILABLE] * 1000)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2) as limit:
            await _consume(source, [])
    due = limit.when()
    assert due is not None
    assert asyncio.get_running_loop().time() - due < 0.05


async def test_a_watch_may_be_closed_between_batches() -> None:
    source = ScriptedSource([created(), events(put(5)), HANG])
    batches = watch(source, b"k", b"", 5)
    await anext(batches)
    await batches.aclose()
    assert source.streams[0].closed_at is not None


async def test_a_watch_that_nobody_reads_opens_nothing() -> None:
    source = ScriptedSource()
    await watch(source, b"k", b"", 5).aclose()
    assert not source.connected_at
