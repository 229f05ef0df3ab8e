"""Pings to many addresses over one socket, each asked again until it has answered."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from flannel_sdk.model import Family, IPAddress
from flannel_sdk.probing.echo import ECHO_HEADER_BYTES, IP_HEADER_BYTES, EchoReply, EchoSocket

SMALL_PACKET_BYTES = 84


class Pinged(Protocol):
    """What becomes of the pings to one address; times in seconds."""

    sent: int
    round_trip: float | None
    """Of the first request that was answered; None if none was."""
    answered_after: float | None
    """From the start of the whole measurement to the first answer."""
    refusal: str | None
    """Why the sender's own kernel refused the last request, if it did."""


PingedT = TypeVar("PingedT", bound=Pinged)


@dataclass(slots=True)
class Ping:
    """As Pinged."""

    sent: int = 0
    round_trip: float | None = None
    answered_after: float | None = None
    refusal: str | None = None


@dataclass(slots=True)
class PingSender(Generic[PingedT]):
    """All pings that start in one namespace with one family; ``socket`` stays the caller's."""

    socket: EchoSocket
    payload: bytes
    results: Mapping[IPAddress, PingedT]
    done: asyncio.Event = field(default_factory=asyncio.Event)
    _began: float = 0.0
    _sent_at: dict[int, float] = field(default_factory=dict)

    def start(self, began: float) -> None:
        """Read answers from now on; ``began`` is when the measurement did."""
        self._began = began
        self.socket.start_reading(self._on_reply)
        if not self.results:
            self.done.set()

    def ask(self) -> None:
        """Send a request to each address that has not answered yet."""
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


async def ask_until_answered(senders: Sequence[PingSender[Any]], interval: float) -> None:
    """Return when all have answered; each sender asks again each ``interval`` seconds.

    Sending yields to the loop after each sender, so that answers are timed when they come.
    """
    start = time.monotonic()
    for sender in senders:
        sender.start(start)
    while True:
        for sender in senders:
            sender.ask()
            await asyncio.sleep(0)
        pending = [sender.done.wait() for sender in senders]
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await asyncio.gather(*pending)
                return


def payload(family: Family, packet_bytes: int) -> bytes:
    """What makes an echo request ``packet_bytes`` long, counted from its IP header on."""
    return bytes(max(0, packet_bytes - IP_HEADER_BYTES[family] - ECHO_HEADER_BYTES))


async def ping_each(
    netns: str | None,
    family: Family,
    addresses: Iterable[IPAddress],
    *,
    packet_bytes: int = SMALL_PACKET_BYTES,
    timeout: float = 1.5,
    interval: float = 0.3,
) -> dict[IPAddress, Ping]:
    """Ping addresses of one family at once, with DF set; PrivilegeError without CAP_NET_RAW."""
    results = {address: Ping() for address in addresses}
    if not results:
        return {}
    socket = EchoSocket(netns, family)
    try:
        sender = PingSender(socket, payload(family, packet_bytes), results)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await ask_until_answered([sender], interval)
    finally:
        socket.close()
    return results


async def path_mtu(
    netns: str | None, address: IPAddress, *, works: int, fails: int, timeout: float = 0.4
) -> int:
    """The largest packet in bytes that ``address`` answers, between two sizes that are known."""
    while fails - works > 1:
        size = (works + fails) // 2
        found = await ping_each(
            netns, address.family, [address], packet_bytes=size, timeout=timeout, interval=0.15
        )
        if found[address].round_trip is None:
            fails = size
        else:
            works = size
    return works
