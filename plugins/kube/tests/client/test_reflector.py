"""The reflector, whatever the server does: nothing lost, nothing twice, nothing for a heartbeat."""

import itertools
import logging

import pytest
from flannel_sdk_kube.failures import CallFailed, Failure
from flannel_sdk_kube.node_client import NodeDelta, NodeSnapshot
from flannel_sdk_kube.slimming import Page

from flannel_sdk.errors import ConfigError
from flannel_sdk.testing import virtual_time
from plugins.kube.tests.client.scripted_source import (
    DOWN,
    EXPIRED,
    HANG,
    REFUSED,
    Pause,
    ScriptedSource,
    Step,
    bookmark,
    entry,
    error,
    gone,
    items_within,
    put,
    told,
)


def _told(source: ScriptedSource, seconds: float = 3600.0) -> list[tuple[str, ...]]:
    return [told(item) for item in virtual_time.run(items_within(source, seconds))]


A10 = put("a", 10, kind="ADDED")
B10 = put("b", 10, kind="ADDED")
CUT = CallFailed(Failure.BROKEN, "the connection was cut", in_stream=True)
CUT_LATER: list[Step] = [[bookmark(11)], CUT]
START = [A10, B10, bookmark(10, end=True)]


def test_the_initial_state_is_streamed_and_the_watch_goes_on_in_the_same_stream() -> None:
    source = ScriptedSource([[A10], [B10], [bookmark(10, end=True)], [put("c", 11)], HANG])
    assert _told(source) == [("=a", "=b"), ("+c",)]
    assert source.questions == ["initial"]


def test_what_follows_the_end_mark_in_one_batch_is_told_with_the_snapshot() -> None:
    source = ScriptedSource([[*START, put("c", 11)], HANG])
    assert _told(source) == [("=a", "=b", "=c")]


def test_a_node_deleted_during_the_initial_state_is_not_in_it() -> None:
    source = ScriptedSource([[A10, B10, gone("a", 11), bookmark(11, end=True)], HANG])
    assert _told(source) == [("=b",)]


@pytest.mark.parametrize(
    "refusal",
    [
        REFUSED,
        [[error(500, "InternalError", "RequestWatchProgress is disabled")]],
        [[A10], [error(500, "InternalError", "RequestWatchProgress is disabled")]],
        [[A10], CallFailed(Failure.SILENT)],
        [[A10, B10]],
        [],
    ],
    ids=["422", "in-stream 500", "later 500", "no end mark", "ends early", "ends at once"],
)
def test_pages_are_read_where_the_initial_state_is_not_streamed(
    refusal: CallFailed | list[object],
) -> None:
    pages = [Page([entry("a", 1)], "20", "more"), Page([entry("b", 2)], "20", "")]
    source = ScriptedSource(refusal, *pages, [[put("c", 21)], HANG])  # type: ignore[arg-type]  # parametrized
    assert _told(source) == [("=a", "=b"), ("+c",)]
    assert source.questions == ["initial", "page", "page more", "watch 20"]


def test_an_end_mark_that_never_comes_among_heartbeats_is_given_up() -> None:
    beats = [step for beat in range(40) for step in ([put("a", 11 + beat)], Pause(1))]
    source = ScriptedSource([[A10], *beats], Page([entry("a", 60)], "60", ""), [HANG])
    assert _told(source, 60.0) == [("=a",)]
    assert source.questions == ["initial", "page", "watch 60"]


def test_heartbeats_tell_nothing_and_move_the_position() -> None:
    source = ScriptedSource(
        [START, [put("a", 11)], [put("b", 12)], Pause(20)], [[put("a", 13)], HANG]
    )
    assert _told(source) == [("=a", "=b")]
    assert source.questions == ["initial", "watch 12"]


def test_bookmarks_move_the_position() -> None:
    source = ScriptedSource([START, [bookmark(900)], Pause(300)], [HANG])
    assert _told(source) == [("=a", "=b")]
    assert source.questions == ["initial", "watch 900"]


def test_a_clean_end_after_a_while_is_resumed_at_once() -> None:
    source = ScriptedSource([START, Pause(300)], [[put("c", 11)], HANG])
    assert _told(source) == [("=a", "=b"), ("+c",)]
    first, second = source.asked
    assert second[0] - first[0] == 300


def test_a_server_that_ends_each_watch_at_once_is_not_asked_in_a_loop() -> None:
    source = ScriptedSource([START], [[EXPIRED]], [START], *([[]] * 1000))
    _told(source, 600.0)
    assert len(source.asked) < 40


def test_silence_is_resumed_at_once_and_without_noise(caplog: pytest.LogCaptureFixture) -> None:
    silent = CallFailed(Failure.SILENT)
    source = ScriptedSource([START, Pause(100), silent], [Pause(100), silent], [HANG])
    with caplog.at_level(logging.INFO):
        assert _told(source) == [("=a", "=b")]
    assert [at for at, _ in source.asked] == [0, 100, 200]
    assert not caplog.records


def test_an_outage_is_waited_out_with_growing_delays_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = ScriptedSource([START, CUT], *([DOWN] * 100), [[put("c", 11)], HANG])
    with caplog.at_level(logging.INFO):
        assert _told(source, 4000.0) == [("=a", "=b"), ("+c",)]
    times = [at for at, _ in source.asked]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 0.1 <= gaps[0] <= 0.2
    assert all(14 <= gap <= 30 for gap in gaps[10:])
    assert len(set(gaps[10:])) > 50, "no jitter"
    assert source.questions == ["initial", *["watch 10"] * 101]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"]


def test_an_expired_history_is_listed_again_at_once_and_only_differences_are_told() -> None:
    source = ScriptedSource(
        [[A10, B10, put("c", 10), bookmark(10, end=True)], Pause(60), [EXPIRED]],
        [
            [A10, put("b", 20, public_ip="192.0.2.9"), put("d", 20)],
            [bookmark(20, end=True)],
            [put("e", 21)],
            HANG,
        ],
    )
    assert _told(source) == [("=a", "=b", "=c"), ("-c", "+b", "+d"), ("+e",)]
    assert source.questions == ["initial", "initial"]
    assert source.asked[1][0] == 60


def test_what_came_before_an_error_in_the_same_batch_is_told_first() -> None:
    source = ScriptedSource([START, [put("c", 11), EXPIRED]], [HANG])
    assert _told(source) == [("=a", "=b"), ("+c",)]


def test_a_list_after_expiry_that_differs_in_nothing_tells_nothing() -> None:
    source = ScriptedSource([START, [EXPIRED]], [[A10, B10, bookmark(30, end=True)], HANG])
    assert _told(source) == [("=a", "=b")]


def test_expiry_as_an_http_status_and_of_a_page_is_listed_again() -> None:
    expired = CallFailed(Failure.EXPIRED, "410 Expired: continue token")
    source = ScriptedSource(
        REFUSED,
        Page([entry("a", 1)], "20", "more"),
        expired,
        REFUSED,
        Page([entry("a", 1)], "30", "more"),
        Page([entry("b", 1)], "30", ""),
        expired,
        REFUSED,
        Page([entry("b", 1)], "40", ""),
        [HANG],
    )
    assert _told(source) == [("=a", "=b"), ("-a",)]
    assert source.questions[-1] == "watch 40"


def test_a_server_that_always_says_expired_is_not_asked_in_a_loop() -> None:
    source = ScriptedSource(*([[START, [EXPIRED]]] * 1000))
    assert _told(source, 600.0) == [("=a", "=b")]
    assert len(source.asked) < 40


def test_a_node_made_again_with_the_same_name_is_removed_and_changed() -> None:
    again = put("a", 12, uid="second", kind="ADDED")
    source = ScriptedSource(
        [START, [gone("a", 11)], [again], [EXPIRED]],
        [[put("a", 20, uid="third"), B10, bookmark(20, end=True)], HANG],
    )
    assert _told(source) == [("=a", "=b"), ("-a",), ("+a",), ("-a", "+a")]


def test_deleted_and_made_again_in_one_batch_is_one_delta() -> None:
    source = ScriptedSource([START, [gone("a", 11), put("a", 12, uid="second")], HANG])
    items = virtual_time.run(items_within(source))
    delta = items[1]
    assert isinstance(delta, NodeDelta)
    assert [node.uid for node in delta.removed] == ["uid-of-a"]
    assert [node.uid for node in delta.changed] == ["second"]


def test_changes_of_one_batch_are_merged_by_node() -> None:
    batch = [
        put("a", 11, public_ip="192.0.2.2"),
        put("a", 12, public_ip="192.0.2.3"),
        put("b", 13, public_ip="192.0.2.4"),
        put("b", 14),
        put("c", 15, kind="ADDED"),
        gone("c", 16),
    ]
    source = ScriptedSource([START, batch, HANG])
    items = virtual_time.run(items_within(source))
    assert [told(item) for item in items] == [("=a", "=b"), ("+a",)]
    assert isinstance(items[1], NodeDelta)
    assert items[1].changed[0].revision == "12"


def test_revisions_never_fall() -> None:
    source = ScriptedSource(
        [START, [EXPIRED]],
        [
            [A10, put("z", 3), bookmark(5, end=True)],
            [put("y", 4)],
            [bookmark(50), put("x", 50)],
            HANG,
        ],
    )
    revisions = [item.revision for item in virtual_time.run(items_within(source))]
    assert revisions == sorted(revisions)
    assert revisions[-1] == 50


def test_revisions_that_are_no_numbers_are_counted() -> None:
    start = [A10, A10._replace(kind="BOOKMARK", node=None, revision="x1", ends_initial=True)]
    source = ScriptedSource([start, [put("b", 1)._replace(revision="x2")], HANG])
    first, second = virtual_time.run(items_within(source))
    assert isinstance(first, NodeSnapshot)
    assert 0 < first.revision < second.revision


def test_a_refusal_that_is_final_ends_the_watch_before_the_snapshot_alone() -> None:
    forbidden = CallFailed(Failure.FORBIDDEN, "may not watch nodes")
    with pytest.raises(ConfigError, match="may not watch"):
        _told(ScriptedSource(forbidden))
    source = ScriptedSource(
        [START, Pause(20)], forbidden, ConfigError("k", "x"), [[put("c", 11)], HANG]
    )
    assert _told(source) == [("=a", "=b"), ("+c",)]


def test_the_server_s_wish_to_wait_is_followed() -> None:
    busy = CallFailed(Failure.OVERLOADED, "429", retry_after=17.0)
    source = ScriptedSource(busy, [START, HANG])
    assert _told(source) == [("=a", "=b")]
    assert source.asked[1][0] == 17.0


def test_a_position_that_the_server_keeps_refusing_is_given_up() -> None:
    source = ScriptedSource(
        [START, Pause(20)], *[REFUSED] * 3, [[A10, bookmark(30, end=True)], HANG]
    )
    assert _told(source) == [("=a", "=b"), ("-b",)]
    assert source.questions == ["initial", *["watch 10"] * 3, "initial"]


def test_a_connection_that_is_often_cut_costs_no_list() -> None:
    source = ScriptedSource([START, CUT], *[CUT_LATER] * 20, [HANG])
    assert _told(source) == [("=a", "=b")]
    assert source.questions == ["initial", "watch 10", *["watch 11"] * 20]


def test_a_server_put_back_to_an_older_state_is_listed_again() -> None:
    """A watch from a revision that it has not reached would tell nothing until it has."""
    for failure in (CUT, DOWN):
        source = ScriptedSource(
            [START, Pause(20), failure], [HANG], [[A10, bookmark(4, end=True)], HANG]
        )
        source.reached = "4"
        assert _told(source) == [("=a", "=b"), ("-b",)]
        assert source.questions == ["initial", "watch 10", "initial"]
        assert source.looked == 1


def test_a_server_that_stays_silent_may_have_been_put_back() -> None:
    silent: list[Step] = [Pause(100), CallFailed(Failure.SILENT)]
    source = ScriptedSource([START, *silent], silent, [HANG], [[A10, bookmark(4, end=True)], HANG])
    source.reached = "4"
    assert _told(source) == [("=a", "=b"), ("-b",)]
    assert source.questions == ["initial", "watch 10", "watch 10", "initial"]


def test_a_server_is_asked_how_far_it_is_after_failures_alone() -> None:
    source = ScriptedSource([START, Pause(20)], [Pause(20), CUT], [Pause(20)], [HANG])
    source.reached = "10"
    assert _told(source) == [("=a", "=b")]
    assert source.questions == ["initial", *["watch 10"] * 3]
    assert source.looked == 1


def test_a_server_that_does_not_say_how_far_it_is_is_waited_for() -> None:
    source = ScriptedSource([START, Pause(20), CUT], *[[HANG]] * 1000)
    source.reached = DOWN
    assert _told(source) == [("=a", "=b")]
    assert 100 < source.looked == len(source.questions) - 1 < 300
    assert source.open_watches == 0


def test_a_closed_client_ends_the_watch() -> None:
    source = ScriptedSource([START, Pause(1), CallFailed(Failure.CLOSED)])
    assert _told(source) == [("=a", "=b")]
    assert len(source.asked) == 1
