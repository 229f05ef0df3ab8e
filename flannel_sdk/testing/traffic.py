"""Packets from pod to pod: whether they arrive whole, and how many are lost on the way."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flannel_sdk.model import Family
from flannel_sdk.testing.overlay import V4, V6, Node
from flannel_sdk.testing.waiting import eventually

_DONT_FRAGMENT = {
    V4: (socket.IPPROTO_IP, 10, 2),  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    V6: (socket.IPPROTO_IPV6, 23, 2),  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO
}
HEADERS = {V4: 28, V6: 48}
"""Bytes of the IP and UDP headers."""


async def reaches(
    source: Node, target: Node, family: Family, *, size: int = 100, seconds: float = 3.0
) -> bool:
    """True once a UDP packet of ``size`` bytes (IP header included), not to be fragmented, arrives.

    It is sent every 50 ms from pod to pod; False after ``seconds``, or if it is too big to send.
    """
    payload = os.urandom(size - HEADERS[family])
    with _pod_socket(source, family) as sender, _pod_socket(target, family) as receiver:
        try:
            async with asyncio.timeout(seconds):
                while not await _sent_and_received(sender, receiver, payload):
                    pass
        except (TimeoutError, _TooBig):
            return False
    return True


class _TooBig(Exception):
    """The packet does not fit the way out."""


async def _sent_and_received(
    sender: socket.socket, receiver: socket.socket, payload: bytes
) -> bool:
    try:
        sender.sendto(payload, receiver.getsockname())
    except OSError as error:  # no route yet, or no neighbour: what a test waits for
        if error.errno == errno.EMSGSIZE:
            raise _TooBig from error
    try:
        async with asyncio.timeout(0.05):
            return await asyncio.get_running_loop().sock_recv(receiver, 65535) == payload
    except TimeoutError:
        return False


def _pod_socket(node: Node, family: Family) -> socket.socket:
    def bound() -> socket.socket:
        made = socket.socket(int(family), socket.SOCK_DGRAM)
        made.setblocking(False)
        made.setsockopt(*_DONT_FRAGMENT[family])
        made.bind((str(node.pods.get(family)), 0))
        return made

    return node.netns.call(bound)


class Stream:
    """Numbered packets from pod to pod; ``lost`` is filled when the block of ``stream`` ends."""

    def __init__(self) -> None:
        self.sent = 0
        self.lost: set[int] = set()


@asynccontextmanager
async def stream(source: Node, target: Node, family: Family) -> AsyncIterator[Stream]:
    """A packet each millisecond while the block runs."""
    flow = Stream()
    received: set[int] = set()
    with _pod_socket(source, family) as sender, _pod_socket(target, family) as receiver:
        address = receiver.getsockname()

        async def send() -> None:
            while True:
                with contextlib.suppress(OSError):  # a packet that cannot leave is a lost one
                    sender.sendto(flow.sent.to_bytes(4, "big"), address)
                flow.sent += 1
                await asyncio.sleep(0.001)

        async def receive() -> None:
            while True:
                data = await asyncio.get_running_loop().sock_recv(receiver, 16)
                received.add(int.from_bytes(data, "big"))

        sending, receiving = asyncio.create_task(send()), asyncio.create_task(receive())
        try:
            yield flow
        finally:
            sending.cancel()
            with contextlib.suppress(AssertionError):
                await eventually(lambda: len(received) == flow.sent, "the last packets", 1.0)
            receiving.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
    flow.lost = set(range(flow.sent)) - received
