"""The watch over scripted streams, in virtual time: resuming, silence, refusals, back-off."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from itertools import pairwise

import pytest
from flannel_sdk_etcd.errors import Compacted
from flannel_sdk_etcd.records import WatchBatch
from flannel_sdk_etcd.transport import CallFailed, Failure
from flannel_sdk_etcd.watch import watch

from flannel_sdk.errors import ConfigError, StoreUnavailable
from flannel_sdk.testing import virtual_time
from plugins.etcd.tests.scripted_transport import (
    HANG,
    Answer,
    Pause,
    Script,
    ScriptedSource,
    Step,
    broken,
    canceled,
    created,
    events,
    progress,
    put,
)

UNAVAILABLE = StoreUnavailable("etcd does not answer")


async def _take(source: ScriptedSource, count: int, start: int = 5) -> list[WatchBatch]:
    """The first batches; then the watch is closed, which leaves no stream and no task."""
    taken: list[WatchBatch] = []
    async with (
        asyncio.timeout(3600),
        aclosing(watch(source, b"/n/", b"/n0", start)) as batches,
    ):
        while len(taken) < count:
            taken.append(await anext(batches))
    assert all(stream.closed_at is not None for stream in source.streams)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return taken


def _taken(source: ScriptedSource, count: int) -> list[int]:
    """The revisions of the first batches."""
    return [batch.revision for batch in virtual_time.run(_take(source, count))]


def _run_for(source: ScriptedSource, seconds: float) -> None:
    """Watch for so long; there are no events."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await _take(source, 1)

    virtual_time.run(main())


def _run_for_after(source: ScriptedSource, seconds: float) -> None:
    """Watch for so long; there is one event at most."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await _take(source, 2)

    virtual_time.run(main())


def _asked_from(source: ScriptedSource) -> list[int]:
    return [stream.create.start_revision for stream in source.streams if stream.create]


def test_what_is_asked_for() -> None:
    source = ScriptedSource([created(), events(put(5)), HANG])
    source.token = "abc"
    _taken(source, 1)
    (stream,) = source.streams
    assert stream.token == "abc"
    create = stream.create
    assert create is not None
    assert (create.key, create.range_end, create.start_revision) == (b"/n/", b"/n0", 4)
    assert create.progress_notify
    fields = {field.name for field, _ in create.ListFields()}
    assert fields == {"key", "range_end", "start_revision", "progress_notify"}


def test_a_watch_resumes_after_the_last_event_it_delivered() -> None:
    source = ScriptedSource(
        [created(900), events(put(5), put(6), at=900), broken()],
        [created(900), broken()],
        [created(900), events(put(7), at=900), progress(900), broken()],
        [created(950), events(put(901))],
    )
    assert _taken(source, 3) == [6, 7, 901]
    assert _asked_from(source) == [4, 6, 6, 900]
    assert source.heard_times == 8, "each response is a sign of life"


@pytest.mark.parametrize(
    "end",
    [
        canceled(compact_revision=52, created=True),
        CallFailed(Failure.COMPACTED, "required revision has been compacted"),
    ],
)
def test_compaction_ends_the_watch(end: Step) -> None:
    source = ScriptedSource([created(), events(put(6)), broken()], [end])
    with pytest.raises(Compacted, match=r"etcd at http://127.0.0.1:2 .* revision 7"):
        _taken(source, 2)
    assert source.streams[-1].closed_at is not None


def test_an_expired_token_is_replaced_at_once_and_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = ScriptedSource(
        [created(), Pause(3), canceled("etcdserver: invalid auth token")],
        [created(), events(put(5))],
    )
    source.token = "old"
    assert _taken(source, 1) == [5]
    assert [stream.token for stream in source.streams] == ["old", "old+"]
    assert source.failures == [(1, Failure.TOKEN_REFUSED)]
    assert source.streams[1].opened_at == pytest.approx(3)
    assert not caplog.records


def test_permission_denied_is_believed_of_a_new_token_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = [canceled("etcdserver: permission denied", created=True)]
    source = ScriptedSource(refused, refused, refused, [created(), events(put(5))])
    source.token = "old"
    assert _taken(source, 1) == [5]
    first, *others = (failure for _, failure in source.failures)
    assert first is Failure.TOKEN_REFUSED
    assert others == [Failure.FORBIDDEN] * 2
    assert "permission denied; trying again in 0.1 s" in caplog.text


def test_each_token_may_expire(caplog: pytest.LogCaptureFixture) -> None:
    expiring: Script = [created(), Pause(3), canceled("etcdserver: permission denied")]
    source = ScriptedSource(expiring, expiring, expiring, [created(), events(put(5))])
    source.token = "abc"
    assert _taken(source, 1) == [5]
    assert [stream.opened_at for stream in source.streams] == pytest.approx([0, 3, 6, 9])
    assert source.failures == [(1, Failure.TOKEN_REFUSED)] * 3
    assert not caplog.records


def test_without_a_token_permission_denied_means_what_it_says() -> None:
    source = ScriptedSource(
        [canceled("etcdserver: permission denied", created=True)], [created(), events(put(5))]
    )
    _taken(source, 1)
    assert source.failures == [(1, Failure.FORBIDDEN)]


def test_a_server_without_a_leader_is_left_for_another() -> None:
    source = ScriptedSource(
        [created(), canceled("etcdserver: no leader")], [created(), events(put(5))]
    )
    assert _taken(source, 1) == [5]
    assert [stream.connection.endpoint.port for stream in source.streams] == [1, 2]


def test_a_silent_server_is_asked_and_then_left() -> None:
    source = ScriptedSource([created(), HANG], [created(), events(put(5))])
    assert _taken(source, 1) == [5]
    silent, other = source.streams
    assert silent.asked_at == [pytest.approx(4)]
    assert silent.closed_at == pytest.approx(8)
    assert other.opened_at == pytest.approx(8, abs=0.11)
    assert source.failures == [(1, Failure.UNANSWERED)]


def test_a_quiet_server_that_answers_is_kept() -> None:
    source = ScriptedSource([created(), *[Answer(4)] * 10, events(put(5))])
    assert _taken(source, 1) == [5]
    (stream,) = source.streams
    assert stream.asked_at == [pytest.approx(4 * (n + 1)) for n in range(10)]


def test_servers_that_are_silent_after_the_first_word_get_more_time() -> None:
    silent: Script = [created(), HANG]
    source = ScriptedSource(*[silent] * 7)
    _run_for(source, 200)
    stood = [s.closed_at - s.opened_at for s in source.streams[:6] if s.closed_at is not None]
    assert stood == [pytest.approx(4 + patience) for patience in (4, 8, 16, 32, 32, 32)]


def test_a_server_that_spoke_again_gets_the_usual_time() -> None:
    silent: Script = [created(), HANG]
    source = ScriptedSource(silent, silent, [created(), Answer(4), HANG], silent, silent)
    _run_for(source, 70)
    stood = [s.closed_at - s.opened_at for s in source.streams[:4] if s.closed_at is not None]
    assert stood == pytest.approx([8, 12, 4 + 4 + 16, 8])


def test_a_stream_with_events_is_not_asked_before_it_falls_silent() -> None:
    script: list[Step] = [created()]
    for revision in range(5, 65):
        script += [events(put(revision)), Pause(1)]
    source = ScriptedSource([*script, Answer(64), events(put(65))])
    assert _taken(source, 61)[-1] == 65
    (stream,) = source.streams
    assert stream.asked_at == pytest.approx([59 + 4])


def test_time_in_which_nobody_asks_for_a_batch_is_not_silence() -> None:
    source = ScriptedSource([created(), events(put(5)), events(put(6)), HANG])

    async def main() -> None:
        async with aclosing(watch(source, b"k", b"", 5)) as batches:
            await anext(batches)
            await asyncio.sleep(100)
            assert (await anext(batches)).revision == 6

    virtual_time.run(main())
    (stream,) = source.streams
    assert not stream.asked_at


def test_a_closed_watch_wakes_nobody() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        await _take(ScriptedSource([created(), events(put(5)), HANG]), 1)
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match="no timer is set"):
        virtual_time.run(main())
    assert loops[0].time() == 0


def test_nothing_is_read_before_it_is_asked_for() -> None:
    source = ScriptedSource([created(), *[events(put(n)) for n in range(5, 100)]])

    async def main() -> None:
        async with aclosing(watch(source, b"k", b"", 5)) as batches:
            await anext(batches)
            await asyncio.sleep(1)
            assert source.streams[0].sent == 2

    virtual_time.run(main())


def test_a_stream_that_worked_is_replaced_at_once_and_others_with_growing_delays() -> None:
    source = ScriptedSource(
        [created(), Pause(1), broken()], *[UNAVAILABLE] * 9, [created(), events(put(5)), broken()],
        [created(), events(put(6))],
    )  # fmt: skip
    assert _taken(source, 2) == [5, 6]
    at = source.connected_at
    waits = [later - earlier for earlier, later in pairwise(at)]
    assert waits[0] == pytest.approx(1)  # it stood for so long
    longest = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5]
    for wait, limit in zip(waits[1:-1], longest, strict=True):
        assert limit / 2 <= wait <= limit
    assert waits[-1] == 0


def test_delays_start_again_after_a_stream_that_worked() -> None:
    source = ScriptedSource(
        *[UNAVAILABLE] * 6, [created(), events(put(5)), broken()], UNAVAILABLE,
        [created(), events(put(6))],
    )  # fmt: skip
    assert _taken(source, 2) == [5, 6]
    assert source.connected_at[-1] - source.connected_at[-2] <= 0.1


def test_a_server_that_breaks_each_stream_at_once_is_not_hammered() -> None:
    breaking: Script = [created(), broken()]
    source = ScriptedSource(*[breaking] * 1000)
    _run_for(source, 60)
    assert len(source.streams) < 30


def test_a_stream_that_only_repeats_what_was_delivered_has_not_worked() -> None:
    """It is asked for from one revision earlier on: to send that again is no progress."""
    cut: Script = [created(900), events(put(5), at=900), broken()]
    source = ScriptedSource(*[cut] * 100)
    _run_for_after(source, 60)
    assert len(source.streams) < 30


def test_a_failure_is_said_once_a_minute_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source = ScriptedSource(
        [created(), events(put(5)), broken("reset")], *[UNAVAILABLE] * 20,
        [created(), events(put(6))],
    )  # fmt: skip
    _taken(source, 2)
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == ("watching /n/: etcd at http://127.0.0.1:1: reset; trying again at once")
    assert said[1].startswith("watching /n/: etcd does not answer; trying again in 0.")
    assert said[2:] == ["watching /n/: works again"]


def test_what_no_retry_heals_passes_through_at_first_only() -> None:
    wrong = ConfigError("etcd-cafile", "the server's certificate is of another CA")
    with pytest.raises(ConfigError):
        _taken(ScriptedSource(wrong), 1)
    with pytest.raises(ConfigError):
        _taken(ScriptedSource(UNAVAILABLE, wrong), 1)
    source = ScriptedSource([created(), broken()], wrong, [created(), events(put(5))])
    assert _taken(source, 1) == [5]


def test_a_defect_is_not_taken_for_a_failure() -> None:
    source = ScriptedSource([created(), RuntimeError("a defect")])
    with pytest.raises(RuntimeError, match="a defect"):
        _taken(source, 1)
    assert source.streams[0].closed_at is not None


@pytest.mark.parametrize(
    "script", [[[created(), Pause(3), broken()]], [UNAVAILABLE] * 50], ids=["stream", "back-off"]
)
def test_a_closed_client_ends_its_watches(
    script: Sequence[Script], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        source = ScriptedSource(*script)
        loop = asyncio.get_running_loop()
        loop.call_later(2.9, source.closed.set)
        assert [batch async for batch in watch(source, b"k", b"", 5)] == []
        assert loop.time() == pytest.approx(3, abs=0.11)

    virtual_time.run(main())
    assert "reset" not in caplog.text
