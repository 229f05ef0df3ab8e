"""Calls and watches that are cancelled, at whichever wait, leave nothing behind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import aclosing
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from aiohttp import web
from flannel_sdk_kube.client import KubeClient
from flannel_sdk_kube.reflector import Reflector
from flannel_sdk_kube.slimming import Page

from flannel_sdk.testing import virtual_time
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.certificates import Authority
from plugins.etcd.tests.proxy import OpenProxy
from plugins.kube.tests.client.scripted_api import (
    Answer,
    ScriptedApi,
    a_node,
    bookmark,
    event,
    page,
    refuse,
    stream,
)
from plugins.kube.tests.client.scripted_source import (
    DOWN,
    EXPIRED,
    REFUSED,
    Pause,
    ScriptedSource,
    put,
    to_error,
)
from plugins.kube.tests.client.scripted_source import bookmark as mark
from plugins.kube.tests.client.sites import (
    OK,
    UNAUTHORIZED,
    pod_client,
    secure_api,
    write_account,
)
from tests.leftovers import Possessions


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


async def _interrupt(coroutine: Coroutine[object, None, None], step: int) -> bool:
    """Whether it was cancelled before its end."""

    async def run() -> None:
        await _Interrupted(coroutine, step)

    try:
        await asyncio.create_task(run())
    except asyncio.CancelledError:
        return True
    return False


def test_a_reflector_is_cancelled_at_each_step() -> None:
    start = [put("a", 10, kind="ADDED"), mark(10, end=True)]

    async def consume(source: ScriptedSource) -> None:
        async with aclosing(Reflector(source, None, to_error).items()) as items:
            async for _ in items:
                await asyncio.sleep(0)
                if not source.answers:
                    return

    async def cancelled_at(step: int) -> bool:
        source = ScriptedSource(
            DOWN,
            REFUSED,
            Page([], "1", "more"),
            Page([], "1", ""),
            [[put("b", 5)], [EXPIRED]],
            [start, [put("c", 11)], Pause(30)],
            DOWN,
            [[put("d", 12)]],
        )
        before = asyncio.all_tasks()
        cancelled = await _interrupt(consume(source), step)
        assert source.open_watches == 0
        assert asyncio.all_tasks() == before
        return cancelled

    steps = next(step for step in count(1) if not virtual_time.run(cancelled_at(step)))
    assert steps > 20


class Pod:
    """A server whose first answer refuses the client's token, which is then rotated."""

    def __init__(self, api: ScriptedApi, authority: Authority, folder: Path) -> None:
        self.api = api
        self._authority = authority
        self._folder = folder

    def client(self, *answers: Answer) -> KubeClient:
        write_account(self._folder, self._authority, "t1")
        self.api.answers = [self._rotate, *answers]
        return pod_client(self.api, self._folder)

    async def _rotate(self, request: web.Request) -> web.StreamResponse:
        write_account(self._folder, self._authority, "t2")
        return await UNAUTHORIZED(request)


@pytest.fixture
async def pod(authority: Authority, tmp_path: Path) -> AsyncIterator[Pod]:
    async with secure_api(authority) as api:
        yield Pod(api, authority, tmp_path)


WATCHED = (
    refuse(422, "Invalid"),
    page(a_node("a", 1), revision=5, rest="more"),
    page(a_node("b", 1), revision=5),
    stream(event("ADDED", a_node("c", 6)), cut=True),
    stream(event("MODIFIED", a_node("d", 7)), bookmark(8), event("ADDED", a_node("e", 9))),
)


async def _watch(client: KubeClient) -> None:
    async with aclosing(client.watch_nodes()) as items:
        async for item in items:
            changed = getattr(item, "changed", ())
            if any(node.name == "e" for node in changed):
                return


async def _call(client: KubeClient) -> None:
    await client.get_node("a")
    await client.patch_node_status("a", {})


@pytest.mark.parametrize(
    ("using", "answers"), [(_watch, WATCHED), (_call, (OK, OK))], ids=["watch", "calls"]
)
async def test_a_client_is_cancelled_at_each_step(
    using: Callable[[KubeClient], Coroutine[object, None, None]],
    answers: tuple[Answer, ...],
    pod: Pod,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flannel_sdk_kube.reflector.Backoff", _NoBackoff)
    before = len(asyncio.all_tasks())
    for step in count(1):
        client = pod.client(*answers)
        cancelled = await _interrupt(using(client), step)
        await client.aclose()
        await eventually(lambda: pod.api.open_connections == 0, "no connection", 5.0)
        await eventually(lambda: len(asyncio.all_tasks()) == before, "no task", 5.0)
        if not cancelled:
            break
    assert not pod.api.answers, "the last one was to go through"
    assert step > 5


async def test_a_watch_of_a_server_that_fell_silent_is_hung_up_at_once(
    authority: Authority, tmp_path: Path, open_proxy: OpenProxy
) -> None:
    watched = stream(event("ADDED", a_node("a", 1)), bookmark(5, end=True))
    async with secure_api(authority, watched) as api:
        proxy = await open_proxy(api.port)
        account = write_account(tmp_path, authority, "t1")
        client = pod_client(api, account, port=proxy.port)
        before = Possessions.now()
        async with aclosing(client.watch_nodes()) as items:
            await anext(items)
            proxy.silence()  # it will not say goodbye in TLS
        ours = f"to {('127.0.0.1', proxy.port)}"
        await eventually(lambda: ours not in "".join(before.left()), "no connection", 5.0)
        await client.aclose()


class _NoBackoff:
    def next_delay(self) -> float:
        return 0.0

    def reset(self) -> None:
        pass
