"""Traffic between the pods of two nodes, and what a test does to the devices under it."""

import asyncio
import fcntl
import hashlib
import random
import socket
from ctypes import addressof, create_string_buffer
from struct import pack

from flannel_sdk_udp.datapath import Counter

from flannel_sdk.interfaces import Network
from tests.overlay import Node, told

_SIOCETHTOOL = 0x8946
_SET_TX_CHECKSUM, _SET_SCATTER_GATHER, _SET_TSO, _SET_GSO = 0x17, 0x19, 0x1F, 0x24


def counted(network: Network, path: str, counter: Counter) -> int:
    """A counter of one path, from the network's status."""
    number = told(network, "datapath", "counters", path, counter.name.lower())
    assert isinstance(number, int)
    return number


async def copied(
    source: Node, target: Node, size: int, seconds: float = 30.0, *, between: str = ""
) -> bool:
    """Whether ``size`` random bytes arrive as they were over one TCP connection.

    ``between``: not from pod to pod, but from this network's host to host by the nodes' numbers.
    """
    addresses = [
        f"{between}.{node.number}" if between else str(node.pods.ipv4) for node in (source, target)
    ]
    data = random.Random(size).randbytes(size)
    loop = asyncio.get_running_loop()
    with source.netns.call(_tcp) as sender, target.netns.call(_tcp) as listener:
        sender.bind((addresses[0], 0))
        listener.bind((addresses[1], 0))
        listener.listen()
        async with asyncio.timeout(seconds):
            accepting = asyncio.create_task(loop.sock_accept(listener))
            await loop.sock_connect(sender, listener.getsockname())
            receiver, _ = await accepting
            with receiver:
                receiving = asyncio.create_task(_digest(receiver))
                await loop.sock_sendall(sender, data)
                sender.shutdown(socket.SHUT_WR)
                return await receiving == hashlib.sha256(data).digest()


def _tcp() -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    return made


async def _digest(receiver: socket.socket) -> bytes:
    digest = hashlib.sha256()
    while data := await asyncio.get_running_loop().sock_recv(receiver, 1 << 18):
        digest.update(data)
    return digest.digest()


def without_offloads(node: Node, device: str = "eth0") -> None:
    """Have each packet cut and summed before it goes to a device."""

    def switch_off() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            for command in (_SET_GSO, _SET_TSO, _SET_TX_CHECKSUM, _SET_SCATTER_GATHER):
                value = create_string_buffer(pack("=II", command, 0), 8)
                request = pack("=16sQ", device.encode(), addressof(value))
                fcntl.ioctl(any_socket, _SIOCETHTOOL, request)

    node.netns.call(switch_off)
