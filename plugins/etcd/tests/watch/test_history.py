"""What a watch's responses mean: new events, the point to resume at, the end of history."""

import pytest
from flannel_sdk_etcd.errors import Compacted
from flannel_sdk_etcd.records import Event, KeyValue, WatchBatch
from flannel_sdk_etcd.schema import ResponseHeader, WatchResponse
from flannel_sdk_etcd.transport import CallFailed, Failure
from flannel_sdk_etcd.watch_history import WatchHistory

from plugins.etcd.tests.scripted_transport import (
    CLUSTER,
    answered,
    canceled,
    created,
    events,
    progress,
    put,
    removal,
)


@pytest.fixture
def history() -> WatchHistory:
    history = WatchHistory(5)
    history.new_stream("etcd at http://127.0.0.1:2379")
    return history


def _revisions(batch: WatchBatch | None) -> list[int]:
    return [event.entry.mod_revision for event in batch.events] if batch else []


def test_events_become_plain_values(history: WatchHistory) -> None:
    batch = history.take(events(put(5, b"a", b"x", lease=7), removal(6, b"a")), 12.5)
    assert batch == WatchBatch(
        [
            Event(removed=False, entry=KeyValue(b"a", b"x", 5, 7)),
            Event(removed=True, entry=KeyValue(b"a", b"", 6)),
        ],
        revision=6,
        received_at=12.5,
    )


def test_a_server_ahead_of_its_events_does_not_move_the_point_to_resume_at(
    history: WatchHistory,
) -> None:
    history.take(created(900), 0)
    assert history.wanted == 5
    history.take(events(put(5), put(6), at=900), 0)
    assert history.wanted == 7


def test_a_timed_notification_says_that_all_was_sent(history: WatchHistory) -> None:
    assert history.take(progress(40), 0) is None
    assert history.wanted == 41
    history.take(progress(30), 0)
    assert history.wanted == 41


def test_an_answer_to_a_request_says_nothing_of_what_was_sent(history: WatchHistory) -> None:
    history.take(answered(40), 0)
    assert history.wanted == 5
    assert _revisions(history.take(events(put(6), at=40), 0)) == [6]


def test_what_was_delivered_is_not_delivered_again(history: WatchHistory) -> None:
    history.take(events(put(5), put(6)), 0)
    assert history.take(events(put(4), put(6)), 0) is None
    assert _revisions(history.take(events(put(6), put(7)), 0)) == [7]
    assert history.wanted == 8


def test_a_revision_is_delivered_when_it_is_complete(history: WatchHistory) -> None:
    assert history.take(events(put(5), put(6, b"a"), fragment=True), 1) is None
    assert history.take(events(put(6, b"b"), fragment=True), 2) is None
    assert history.wanted == 5
    batch = history.take(events(put(6, b"c")), 3)
    assert batch is not None
    assert [event.entry.key for event in batch.events] == [b"k", b"a", b"b", b"c"]
    assert batch.received_at == 3
    assert history.wanted == 7
    assert _revisions(history.take(events(put(7)), 4)) == [7]


def test_half_a_revision_is_asked_for_again_after_a_break(history: WatchHistory) -> None:
    history.take(events(put(5, b"a"), fragment=True), 0)
    history.take(progress(9), 0)
    history.new_stream("etcd at http://127.0.0.1:2380")
    assert history.wanted == 5
    batch = history.take(events(put(5, b"a"), put(5, b"b")), 0)
    assert batch is not None
    assert [event.entry.key for event in batch.events] == [b"a", b"b"]


@pytest.mark.parametrize(
    "response",
    [
        canceled(compact_revision=52),
        canceled(compact_revision=52, created=True),
        WatchResponse(created=True, compact_revision=52),
        WatchResponse(compact_revision=52),
    ],
)
def test_compaction_is_an_error_of_its_own(history: WatchHistory, response: WatchResponse) -> None:
    with pytest.raises(Compacted) as caught:
        history.take(response, 0)
    assert caught.value.revision == 52
    assert str(caught.value) == (
        "etcd at http://127.0.0.1:2379 has compacted its history up to revision 52, and changes"
        " from revision 5 on are needed: list the keys again."
    )


def test_compaction_may_be_told_in_words_only(history: WatchHistory) -> None:
    reason = "etcdserver: mvcc: required revision has been compacted"
    with pytest.raises(Compacted, match="beyond revision 5"):
        history.take(canceled(reason, created=True), 0)


@pytest.mark.parametrize(
    ("reason", "failure"),
    [
        ("etcdserver: invalid auth token", Failure.TOKEN_REFUSED),
        ("etcdserver: revision of auth store is old", Failure.TOKEN_REFUSED),
        ("etcdserver: user name is empty", Failure.TOKEN_REFUSED),
        ("etcdserver: permission denied", Failure.FORBIDDEN),
        ("etcdserver: no leader", Failure.NO_LEADER),
        ("something new", Failure.REFUSED),
        ("", Failure.REFUSED),
    ],
)
def test_why_the_server_ended_the_watch(
    history: WatchHistory, reason: str, failure: Failure
) -> None:
    with pytest.raises(CallFailed, match=reason or "without a reason") as caught:
        history.take(canceled(reason, created=True), 0)
    assert caught.value.failure is failure


def test_another_cluster_has_another_history(history: WatchHistory) -> None:
    history.take(created(), 0)
    history.new_stream("etcd at http://127.0.0.1:2380")
    header = ResponseHeader(cluster_id=CLUSTER + 1, revision=9)
    with pytest.raises(Compacted, match=r"another cluster than before \(c2, not c1\)"):
        history.take(WatchResponse(header=header, created=True), 0)


def test_a_gateway_need_not_tell_the_cluster(history: WatchHistory) -> None:
    for cluster in (0, CLUSTER, 0, CLUSTER):
        header = ResponseHeader(cluster_id=cluster, revision=9)
        assert history.take(WatchResponse(header=header, created=True), 0) is None


def test_a_store_that_was_set_back_is_noticed(history: WatchHistory) -> None:
    history.take(events(put(80)), 0)
    history.take(answered(60), 0)
    with pytest.raises(Compacted, match="at revision 61, though revision 80 was seen"):
        history.take(answered(61), 4)


def test_a_member_that_lags_for_a_moment_was_not_set_back(history: WatchHistory) -> None:
    history.take(events(put(80)), 0)
    for _ in range(3):
        history.take(answered(79), 0)
        history.take(answered(80), 0)
    history.take(answered(79), 0)
    history.new_stream("etcd at http://127.0.0.1:2380")
    history.take(answered(79), 0)


def test_a_store_that_was_set_back_is_noticed_over_several_streams(history: WatchHistory) -> None:
    """Of a watch that begins in its future, etcd 3.6 answers no request for progress."""
    history.take(events(put(40)), 0)
    for seconds in (1.0, 3.0):
        history.new_stream("etcd at http://127.0.0.1:2379")
        assert history.take(created(12), seconds) is None
    history.new_stream("etcd at http://127.0.0.1:2379")
    with pytest.raises(Compacted, match="revision 12, though revision 40 was seen"):
        history.take(created(12), 5.0)
