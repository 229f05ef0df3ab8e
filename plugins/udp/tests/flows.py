"""Traffic between the pods of two nodes: a file over TCP, and datagrams with what came of them."""

import hashlib
import os
import random
import socket
import struct
import threading

import pytest

from flannel_sdk.testing.namespaces import Namespace
from tests.overlay import V4, Node

_IP_RECVERR, _MSG_ERRQUEUE = 11, 0x2000
_IP_MTU_DISCOVER, _PMTUDISC_DONT, _PMTUDISC_DO = 10, 0, 2
PATIENCE = 30.0


def pod(node: Node) -> str:
    return str(node.pods.get(V4))


def arrives_unchanged(source: Node, target: Node, size: int) -> bool:
    """Send ``size`` bytes over one TCP connection; True if their SHA-256 is the same there."""
    block = random.Random(size).randbytes(1 << 20)
    with target.netns.call(lambda: socket.create_server((pod(target), 0))) as listener:
        listener.settimeout(PATIENCE)
        received: list[str] = []
        reader = threading.Thread(target=lambda: received.append(_digest(listener)))
        reader.start()
        sent = hashlib.sha256()
        address = listener.getsockname()
        with source.netns.call(
            lambda: socket.create_connection(address, PATIENCE, (pod(source), 0))
        ) as connection:
            for start in range(0, size, len(block)):
                part = block[: size - start]
                sent.update(part)
                connection.sendall(part)
        reader.join()
    return received == [sent.hexdigest()]


def _digest(listener: socket.socket) -> str:
    received = hashlib.sha256()
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(PATIENCE)
        while data := connection.recv(1 << 20):
            received.update(data)
    return received.hexdigest()


def datagram_arrives(source: Node, target: Node, size: int) -> bool:
    """One UDP payload of ``size`` random bytes that may be fragmented; True if it comes whole."""
    payload = os.urandom(size)
    with bound(target.netns, pod(target)) as receiver, bound(source.netns, pod(source)) as sender:
        sender.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
        receiver.settimeout(PATIENCE)
        sender.sendto(payload, receiver.getsockname())
        return receiver.recv(65535) == payload


def bound(netns: Namespace, address: str, port: int = 0) -> socket.socket:
    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, port))
        return made

    return netns.call(make)


def told_by_icmp(
    source: Node, address: str, *, size: int = 10, ttl: int = 64
) -> tuple[int, str, int]:
    """What the sender of a datagram with DF is told: errno, who says so, and the MTU it names."""
    with bound(source.netns, pod(source)) as sender:
        sender.settimeout(PATIENCE)
        sender.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        sender.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DO)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        sender.sendto(bytes(size - 28 if size > 28 else size), (address, 9))
        with pytest.raises(OSError, match=r"unreachable|No route|Message too long"):
            sender.recv(10)
        _, controls, _, _ = sender.recvmsg(100, 512, _MSG_ERRQUEUE)
        data = controls[0][2]
        number, _, _, _, mtu = struct.unpack_from("=IBBB1xI", data)
        return number, socket.inet_ntoa(data[20:24]), mtu
