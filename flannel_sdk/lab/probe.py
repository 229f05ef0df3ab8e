"""A steady stream of pings from one pod to another, with every lost packet accounted for."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from flannel_sdk.lab.ping import Pod
from flannel_sdk.model import Family, IPAddress
from flannel_sdk.probing.echo import EchoReply, EchoSocket

_SEQUENCES = 65536


@dataclass(slots=True)
class ProbeReport:
    """What became of the packets of a stream; complete once the stream has ended."""

    interval: float
    """Seconds between two packets as asked for."""
    sent: int = 0
    refused: int = 0
    """Packets that the sender's own kernel refused; counted as sent, and lost."""
    answered: int = 0
    lost: tuple[int, ...] = ()
    """Numbers of the packets without an answer, the first packet being 0."""
    longest_gap: float = 0.0
    """Seconds from the first to the last packet of the longest run of lost ones, both included."""
    round_trips: list[float] = field(default_factory=list)
    """Seconds, in the order of the answers."""

    def to_json(self) -> dict[str, object]:
        """JSON-ready summary."""
        worst = max(self.round_trips, default=None)
        return {
            "sent": self.sent,
            "answered": self.answered,
            "lost": len(self.lost),
            "longest_gap_s": round(self.longest_gap, 4),
            "max_rtt_ms": None if worst is None else round(worst * 1e3, 3),
        }


class ProbeStream:
    """Sends one packet each ``interval`` seconds and waits for none before the next.

    A late timer is made up for with several packets at once, so the count is right though the
    spacing is not; a stream may be at most 65536 packets long.
    """

    def __init__(self, socket: EchoSocket, destination: IPAddress, interval: float) -> None:
        self._socket, self._destination, self._interval = socket, destination, interval
        self._sent_at: list[float] = []
        self._missing: set[int] = set()
        self._all_back = asyncio.Event()
        self._progress = asyncio.Event()
        self.report = ProbeReport(interval)

    async def send_forever(self) -> None:
        """Send until cancelled; OverflowError past the longest possible stream."""
        self._socket.start_reading(self._on_reply)
        start = time.monotonic()
        while True:
            due = int((time.monotonic() - start) / self._interval) + 1
            while len(self._sent_at) < due:
                self._send()
            await asyncio.sleep(start + due * self._interval - time.monotonic())

    async def wait_answered(self, count: int) -> None:
        """Return once ``count`` packets from now on were answered."""
        await self._until(lambda: self.report.answered, self.report.answered + count)

    async def wait_sent(self, count: int) -> None:
        """Return once ``count`` packets were sent from now on, whatever became of them."""
        await self._until(lambda: self.report.sent, self.report.sent + count)

    async def _until(self, counter: Callable[[], int], goal: int) -> None:
        while counter() < goal:
            self._progress.clear()
            await self._progress.wait()

    async def drain(self, patience: float) -> None:
        """Wait up to ``patience`` seconds for the answers still missing, then sum up."""
        if self._missing:
            self._all_back.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._all_back.wait()
        self.report.lost = tuple(sorted(self._missing))
        self.report.longest_gap = self._longest_gap()

    def _send(self) -> None:
        number = len(self._sent_at)
        if number >= _SEQUENCES:
            raise OverflowError(f"a probe stream has at most {_SEQUENCES} packets")
        self._sent_at.append(time.monotonic())
        self._missing.add(number)
        self.report.sent += 1
        if self._socket.send(self._destination, number) is not None:
            self.report.refused += 1
        self._progress.set()

    def _on_reply(self, reply: EchoReply) -> None:
        if reply.sequence not in self._missing:
            return
        self._missing.discard(reply.sequence)
        self.report.answered += 1
        self.report.round_trips.append(time.monotonic() - self._sent_at[reply.sequence])
        if not self._missing:
            self._all_back.set()
        self._progress.set()

    def _longest_gap(self) -> float:
        longest, run = 0.0, 0.0
        for number in range(len(self._sent_at)):
            if number not in self._missing:
                run = 0.0
                continue
            run += self._interval
            longest = max(longest, run)
        return longest


@asynccontextmanager
async def probing(
    source: Pod,
    destination: Pod,
    *,
    family: Family = Family.IPV4,
    interval: float = 0.005,
    patience: float = 1.0,
) -> AsyncIterator[ProbeStream]:
    """Probe while the block runs; the stream's report is complete after the block.

    ``patience`` is how long, in seconds, an answer may still come after the last packet.
    """
    address = next(address for address in destination.addresses if address.family is family)
    socket = EchoSocket(source.netns, family)
    stream = ProbeStream(socket, address, interval)
    sending = asyncio.create_task(stream.send_forever(), name="probe stream")
    try:
        yield stream
        await _stop(sending)
        await stream.drain(patience)
    finally:
        await _stop(sending)
        socket.close()


async def _stop(sending: asyncio.Task[None]) -> None:
    sending.cancel()
    await asyncio.wait([sending])
    if not sending.cancelled():
        sending.result()
