"""A probe stream with a socket of ours: what is sent, answered, refused and lost."""

import asyncio
import time
from collections.abc import Callable

import pytest

from flannel_sdk.lab import probe
from flannel_sdk.lab.ping import Pod
from flannel_sdk.lab.probe import ProbeReport, ProbeStream, probing
from flannel_sdk.model import Family, IPAddress
from flannel_sdk.probing.echo import EchoReply, EchoSocket
from flannel_sdk.testing import virtual_time
from flannel_sdk.testing.namespaces import Namespace

THERE = IPAddress.parse("192.0.2.2")


class Wire(EchoSocket):
    """Loses and refuses the packets it is told to, and answers the others when asked."""

    def __init__(self, lost: set[int] | None = None, refused: set[int] | None = None) -> None:
        self.lost, self.refused = lost or set(), refused or set()
        self.sent: list[int] = []
        self.late: list[int] = []

    def send(self, destination: IPAddress, sequence: int, payload: bytes = b"") -> OSError | None:
        assert destination == THERE
        self.sent.append(sequence)
        if sequence in self.refused:
            return OSError("no route")
        if sequence in self.lost:
            self.late.append(sequence)
        else:
            self._reply(sequence)
        return None

    def start_reading(self, on_reply: Callable[[EchoReply], None]) -> None:
        self._hand_over = on_reply

    def _reply(self, sequence: int) -> None:
        asyncio.get_running_loop().call_soon(self._hand_over, EchoReply(THERE, sequence, 0))

    def answer_late(self) -> None:
        for sequence in self.late:
            self._reply(sequence)


@pytest.fixture(autouse=True)
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In virtual time the clock is the loop's."""
    if "root" not in request.keywords:
        monkeypatch.setattr(time, "monotonic", lambda: asyncio.get_running_loop().time())


def streamed(wire: Wire, packets: int, interval: float = 0.5) -> ProbeReport:
    async def scenario() -> ProbeReport:
        stream = ProbeStream(wire, THERE, interval)
        sending = asyncio.create_task(stream.send_forever())
        await stream.wait_sent(packets)
        sending.cancel()
        await asyncio.wait([sending])
        await stream.drain(1.0)
        return stream.report

    return virtual_time.run(scenario())


def test_without_loss_all_is_answered_and_numbered_from_0() -> None:
    wire = Wire()
    report = streamed(wire, 5)
    assert wire.sent == [0, 1, 2, 3, 4]
    assert (report.sent, report.answered, report.lost, report.longest_gap) == (5, 5, (), 0.0)
    assert len(report.round_trips) == 5


def test_the_longest_run_of_lost_packets_is_the_gap() -> None:
    report = streamed(Wire(lost={1, 4, 5, 6, 8}), 10)
    assert report.lost == (1, 4, 5, 6, 8)
    assert report.longest_gap == pytest.approx(1.5)
    assert report.sent == report.answered + len(report.lost)


def test_what_the_own_kernel_refuses_is_sent_and_lost() -> None:
    report = streamed(Wire(refused={2}), 4)
    assert (report.sent, report.refused, report.lost) == (4, 1, (2,))


def test_answers_count_until_patience_is_over_and_once_each() -> None:
    async def scenario() -> ProbeReport:
        wire = Wire(lost={0, 1})
        stream = ProbeStream(wire, THERE, 0.5)
        sending = asyncio.create_task(stream.send_forever())
        await stream.wait_sent(3)
        sending.cancel()
        await asyncio.wait([sending])
        wire.late = [0, 0]
        asyncio.get_running_loop().call_later(0.9, wire.answer_late)
        await stream.drain(1.0)
        return stream.report

    report = virtual_time.run(scenario())
    assert (report.answered, report.lost) == (2, (1,))
    assert report.to_json() == {
        "sent": 3,
        "answered": 2,
        "lost": 1,
        "longest_gap_s": 0.5,
        "max_rtt_ms": pytest.approx(1900.0),
    }


def test_a_stream_is_no_longer_than_there_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_SEQUENCES", 3)

    async def scenario() -> None:
        with pytest.raises(OverflowError, match="at most 3 packets"):
            await ProbeStream(Wire(), THERE, 0.5).send_forever()

    virtual_time.run(scenario())


def test_nothing_sent_is_no_worst_answer() -> None:
    assert ProbeReport(0.005).to_json()["max_rtt_ms"] is None


@pytest.mark.root
async def test_probing_a_real_namespace_sums_up_after_the_block(netns: Namespace) -> None:
    pod = Pod(1, netns.path, (IPAddress.parse("127.0.0.1"), IPAddress.parse("::1")))
    for family in Family:
        async with probing(pod, pod, family=family, interval=0.001) as stream:
            await stream.wait_answered(5)
        assert stream.report.sent == stream.report.answered >= 5
        assert stream.report.lost == ()


@pytest.mark.root
async def test_an_error_within_the_block_stops_the_stream(netns: Namespace) -> None:
    pod = Pod(1, netns.path, (IPAddress.parse("127.0.0.1"),))

    async def fail() -> None:
        async with probing(pod, pod):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
