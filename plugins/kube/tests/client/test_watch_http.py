"""Watches of a scripted API server: what is asked of it, and odd streams."""

import asyncio
from contextlib import aclosing
from itertools import pairwise

import pytest
from flannel_sdk_kube.node_client import NodeDelta, NodeSnapshot

from flannel_sdk.errors import ConfigError
from plugins.kube.tests.client.scripted_api import (
    PREFIX,
    a_node,
    bookmark,
    event,
    line,
    page,
    refuse,
    status,
    stream,
    text,
)
from plugins.kube.tests.client.scripted_source import told
from plugins.kube.tests.client.test_calls import connected

pytestmark = pytest.mark.slow


A5 = event("ADDED", a_node("a", 5))
B6 = event("ADDED", a_node("b", 6))
C7 = event("ADDED", a_node("c", 7))
START = (A5, bookmark(5, end=True))


async def test_the_initial_state_is_asked_for_as_a_stream() -> None:
    async with (
        connected(stream(*START, B6)) as (api, client),
        aclosing(client.watch_nodes()) as items,
    ):
        seen = set(told(await anext(items)))
        while "b" not in "".join(seen):
            seen |= set(told(await anext(items)))
    query = dict(api.asked[0].query)
    assert 240 <= int(query.pop("timeoutSeconds")) <= 480
    assert query == {
        "watch": "1",
        "allowWatchBookmarks": "true",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
    }


async def test_pages_and_a_watch_from_there() -> None:
    answers = (
        refuse(422, "Invalid", "sendInitialEvents is forbidden"),
        page(a_node("a", 1), revision=20, rest="more"),
        page(a_node("b", 2), revision=20),
        stream(C7),
    )
    async with connected(*answers) as (api, client), aclosing(client.watch_nodes()) as items:
        assert told(await anext(items)) == ("=a", "=b")
        assert told(await anext(items)) == ("+c",)
    assert api.questions == ["initial", "GET nodes", "GET nodes", "watch"]
    assert dict(api.asked[1].query) == {"limit": "500"}
    assert dict(api.asked[2].query) == {"limit": "500", "continue": "more"}
    assert api.asked[3].query["resourceVersion"] == "20"


async def test_pages_after_an_error_in_the_initial_stream() -> None:
    disabled = event("ERROR", status(500, "InternalError", "RequestWatchProgress is disabled"))
    answers = stream(disabled, hold=False), page(a_node("a", 1), revision=20), stream()
    async with connected(*answers) as (_, client), aclosing(client.watch_nodes()) as items:
        assert told(await anext(items)) == ("=a",)


async def test_pages_where_the_end_mark_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flannel_sdk_kube.node_api.INITIAL_SILENCE_SECONDS", 0.2)
    answers = stream(A5), page(a_node("a", 5), revision=20), stream()
    async with connected(*answers) as (_, client), aclosing(client.watch_nodes()) as items:
        assert told(await anext(items)) == ("=a",)


async def test_a_silent_watch_is_resumed_without_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("flannel_sdk_kube.node_api.SILENCE_SECONDS", 0.2)
    answers = refuse(422, "Invalid"), page(revision=20), stream(B6), stream(C7)
    async with connected(*answers) as (api, client), aclosing(client.watch_nodes()) as items:
        assert [told(await anext(items)) for _ in range(3)] == [(), ("+b",), ("+c",)]
    assert api.asked[3].query["resourceVersion"] == "6"
    assert not [record for record in caplog.records if record.name.startswith("flannel_sdk")]


@pytest.mark.parametrize("cut_at", [10, 200, -1])
async def test_a_line_that_is_cut_off_is_read_again(cut_at: int) -> None:
    answers = stream(*START, line(B6)[:cut_at], cut=True), stream(B6)
    async with connected(*answers) as (api, client), aclosing(client.watch_nodes()) as items:
        assert told(await anext(items)) == ("=a",)
        assert told(await anext(items)) == ("+b",)
    assert api.asked[1].query["resourceVersion"] == "5"


async def test_a_server_put_back_to_an_older_state_is_listed_again() -> None:
    restored = stream(), stream(A5, bookmark(5, end=True))
    answers = stream(A5, B6, bookmark(6, end=True), cut=True), *restored
    async with connected(*answers) as (api, client), aclosing(client.watch_nodes()) as items:
        api.reached = 5
        assert [told(await anext(items)) for _ in range(2)] == [("=a", "=b"), ("-b",)]
        assert api.questions == ["initial", "watch", "initial"]
        assert api.looked == 1


async def test_a_line_may_end_in_pieces() -> None:
    pieces = [part for at in range(0, len(line(B6)), 7) for part in (line(B6)[at : at + 7], 0.0)]
    async with (
        connected(stream(*START, *pieces, b"\n\r\n", C7)) as (_, client),
        aclosing(client.watch_nodes()) as items,
    ):
        assert [told(await anext(items)) for _ in range(3)] == [("=a",), ("+b",), ("+c",)]


async def test_a_line_that_drips_for_too_long_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flannel_sdk_kube.node_api.SILENCE_SECONDS", 0.3)
    drops = [part for _ in range(100) for part in (b"x", 0.05)]
    answers = refuse(422, "Invalid"), page(revision=5), stream(B6, *drops), stream(C7)
    async with connected(*answers) as (api, client), aclosing(client.watch_nodes()) as items:
        assert [told(await anext(items)) for _ in range(3)] == [(), ("+b",), ("+c",)]
    assert api.asked[3].query["resourceVersion"] == "6"


async def test_a_line_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flannel_sdk_kube.lines._LONGEST", 1_000_000)
    answers = stream(*START, 0.05, b"x" * 2_000_000), stream(B6)
    async with connected(*answers) as (_, client), aclosing(client.watch_nodes()) as items:
        assert [told(await anext(items)) for _ in range(2)] == [("=a",), ("+b",)]


async def test_garbage_in_a_watch_is_read_again() -> None:
    answers = stream(*START, b"<html>\n"), stream(B6)
    async with connected(*answers) as (_, client), aclosing(client.watch_nodes()) as items:
        assert [told(await anext(items)) for _ in range(2)] == [("=a",), ("+b",)]


async def test_an_event_of_more_than_a_megabyte_passes() -> None:
    annotations = {f"{PREFIX}backend-data": "x" * 1_200_000}
    big = event("MODIFIED", a_node("a", 8, annotations=annotations))
    async with (
        connected(stream(*START, big)) as (_, client),
        aclosing(client.watch_nodes()) as items,
    ):
        await anext(items)
        delta = await anext(items)
        assert isinstance(delta, NodeDelta)
        assert len(delta.changed[0].annotations[f"{PREFIX}backend-data"]) == 1_200_000


async def test_one_node_is_watched_by_its_name() -> None:
    gone, again = event("DELETED", a_node("a", 9)), event("ADDED", a_node("a", 10))
    answers = refuse(422, "Invalid"), page(revision=3), stream(A5, 0.2, gone, 0.2, again)
    async with connected(*answers) as (api, client), aclosing(client.watch_node("a")) as states:
        found = [await anext(states) for _ in range(4)]
    assert [node and node.revision for node in found] == [None, "5", None, "10"]
    assert {asked.query["fieldSelector"] for asked in api.asked} == {"metadata.name=a"}


async def test_a_server_that_is_none_fails_the_watch() -> None:
    async with (
        connected(text("<html>"), text("<html>")) as (_, client),
        aclosing(client.watch_nodes()) as items,
    ):
        with pytest.raises(ConfigError, match="no Kubernetes API server"):
            await anext(items)


async def test_a_reader_that_pauses_gets_the_newest_and_holds_nothing_up() -> None:
    """More than the buffers take is sent while nobody reads; each node's newest state arrives."""
    padding = {"unrelated": "x" * 20_000}
    changes = [
        event("MODIFIED", a_node("a", at, annotations=padding | {f"{PREFIX}public-ip": str(at)}))
        for at in range(6, 1006)
    ]
    async with (
        connected(stream(*START, *changes)) as (_, client),
        aclosing(client.watch_nodes()) as items,
    ):
        assert isinstance(await anext(items), NodeSnapshot)
        await asyncio.sleep(0.5)
        seen = [0]
        while seen[-1] < 1005:
            item = await anext(items)
            assert isinstance(item, NodeDelta)
            seen.append(int(item.changed[0].annotations[f"{PREFIX}public-ip"]))
    assert all(earlier < later for earlier, later in pairwise(seen))
    assert len(seen) < 900, "nothing was merged"
