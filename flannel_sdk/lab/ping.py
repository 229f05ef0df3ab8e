"""Pings between every pair of pods at once, until each has answered or time is over."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from flannel_sdk.model import Family, IPAddress
from flannel_sdk.probing.echo import EchoSocket
from flannel_sdk.probing.pings import (
    SMALL_PACKET_BYTES,
    PingSender,
    ask_until_answered,
    payload,
)


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
    packet_bytes: int = SMALL_PACKET_BYTES,
) -> Matrix:
    """Ping from each pod to each other one, in every family both have.

    A pair without an answer is asked again each ``interval`` seconds until ``timeout``.
    ``packet_bytes`` counts from the inner IP header on; packets are not fragmented.
    """
    senders = [sender for pod in pods for sender in _senders(pod, pods, packet_bytes)]
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await ask_until_answered(senders, interval)
    finally:
        for sender in senders:
            sender.socket.close()
    results = [result for sender in senders for result in sender.results.values()]
    return Matrix(tuple(sorted(results, key=lambda r: (r.pair.family, *r.pair))))


def _senders(pod: Pod, pods: Sequence[Pod], packet_bytes: int) -> Iterator[PingSender[PairResult]]:
    for own in pod.addresses:
        results = {
            address: PairResult(Pair(pod.node, other.node, own.family), address)
            for other in pods
            if other.node != pod.node
            for address in other.addresses
            if address.family is own.family
        }
        socket = EchoSocket(pod.netns, own.family)
        yield PingSender(socket, payload(own.family, packet_bytes), results)
