"""Pings between every pair of pods at once, until each has answered or time is over."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from flannel_sdk.lab.echo import ECHO_HEADER_BYTES, IP_HEADER_BYTES, EchoReply, EchoSocket
from flannel_sdk.model import Family, IPAddress

DEFAULT_PACKET_BYTES = 84


@dataclass(frozen=True, slots=True)
class Pod:
    """One end of pings."""

    node: int
    netns: str
    """Path of the namespace its packets start in."""
    addresses: tuple[IPAddress, ...]
    """At most one for each family."""


class Pair(NamedTuple):
    """A direction between the pods of two nodes in one family."""

    source: int
    destination: int
    family: Family


@dataclass(slots=True)
class PairResult:
    """What became of the pings of one pair; times in seconds."""

    pair: Pair
    address: IPAddress
    sent: int = 0
    round_trip: float | None = None
    """Of the first request that was answered; None if none was."""
    answered_after: float | None = None
    """From the start of the whole measurement to the first answer."""
    refusal: str | None = None
    """Why the sender's own kernel refused the last request, if it did."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The results of all pairs, ordered by family, source, destination."""

    results: tuple[PairResult, ...]

    @property
    def complete(self) -> bool:
        """True if every pair answered."""
        return all(result.round_trip is not None for result in self.results)

    @property
    def silent(self) -> list[Pair]:
        """The pairs that did not answer."""
        return [result.pair for result in self.results if result.round_trip is None]

    @property
    def elapsed(self) -> float:
        """Seconds from the start until the last pair answered that did."""
        return max((r.answered_after or 0.0 for r in self.results), default=0.0)

    def to_json(self) -> dict[str, object]:
        """JSON-ready; round-trip times in milliseconds."""
        pairs = [
            {
                "source": result.pair.source,
                "destination": result.pair.destination,
                "address": str(result.address),
                "answered": result.round_trip is not None,
                "rtt_ms": None if result.round_trip is None else round(result.round_trip * 1e3, 3),
                "sent": result.sent,
                "refusal": result.refusal,
            }
            for result in self.results
        ]
        return {"complete": self.complete, "elapsed_s": round(self.elapsed, 4), "pairs": pairs}


async def ping_all(
    pods: Sequence[Pod],
    *,
    timeout: float = 2.0,
    interval: float = 0.2,
    packet_bytes: int = DEFAULT_PACKET_BYTES,
) -> Matrix:
    """Ping from each pod to each other one, in every family both have.

    A pair without an answer is asked again each ``interval`` seconds until ``timeout``.
    ``packet_bytes`` counts from the inner IP header on; packets are not fragmented.
    """
    senders = [sender for pod in pods for sender in _senders(pod, pods, packet_bytes)]
    try:
        start = time.monotonic()
        for sender in senders:
            sender.start(start)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await _ask_until_answered(senders, interval)
    finally:
        for sender in senders:
            sender.socket.close()
    results = [result for sender in senders for result in sender.results.values()]
    return Matrix(tuple(sorted(results, key=lambda r: (r.pair.family, *r.pair))))


async def _ask_until_answered(senders: "Sequence[_Sender]", interval: float) -> None:
    """Sending yields to the loop after each sender, so that answers are timed when they come."""
    while True:
        for sender in senders:
            sender.ask()
            await asyncio.sleep(0)
        pending = [sender.done.wait() for sender in senders]
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await asyncio.gather(*pending)
                return


@dataclass(slots=True)
class _Sender:
    """All pings that start in one pod with one family."""

    socket: EchoSocket
    payload: bytes
    results: dict[IPAddress, PairResult]
    done: asyncio.Event = field(default_factory=asyncio.Event)
    _began: float = 0.0
    _sent_at: dict[int, float] = field(default_factory=dict)

    def start(self, began: float) -> None:
        self._began = began
        self.socket.start_reading(self._on_reply)
        if not self.results:
            self.done.set()

    def ask(self) -> None:
        for address, result in self.results.items():
            if result.round_trip is not None:
                continue
            sequence = len(self._sent_at) & 0xFFFF
            self._sent_at[sequence] = time.monotonic()
            error = self.socket.send(address, sequence, self.payload)
            result.sent += 1
            result.refusal = None if error is None else error.strerror

    def _on_reply(self, reply: EchoReply) -> None:
        now = time.monotonic()
        result = self.results.get(reply.source)
        sent_at = self._sent_at.get(reply.sequence)
        if result is None or sent_at is None or result.round_trip is not None:
            return
        result.round_trip = now - sent_at
        result.answered_after = now - self._began
        result.refusal = None
        if all(other.round_trip is not None for other in self.results.values()):
            self.done.set()


def _senders(pod: Pod, pods: Sequence[Pod], packet_bytes: int) -> Iterator[_Sender]:
    for own in pod.addresses:
        results = {
            address: PairResult(Pair(pod.node, other.node, own.family), address)
            for other in pods
            if other.node != pod.node
            for address in other.addresses
            if address.family is own.family
        }
        headers = IP_HEADER_BYTES[own.family] + ECHO_HEADER_BYTES
        payload = bytes(max(0, packet_bytes - headers))
        yield _Sender(EchoSocket(pod.netns, own.family), payload, results)
