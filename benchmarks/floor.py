"""The floor: how fast this kernel takes the objects of N peers from pre-packed netlink bytes.

Neighbour, FDB entry and route each, and a nexthop object where the layout has one; all neighbours
first, then all entries, and so on; one acknowledgement a batch; socket options as the data
plane's. Everything but sending and receiving is done beforehand. Run as a program it compares the
layouts that routes with a gateway each can have, IPv4, by adding and by what deleting their
device costs (the kernel's work alone).
"""

import socket
import sys
import time
from enum import Enum
from struct import Struct, pack

from flannel_sdk.testing.namespaces import Namespace, namespace

_DEVICE = "flannel.1"
_REPLACE = 0x1 | 0x400 | 0x100
_ACK = 0x4
_HEADER = Struct("=IHHII")


class Layout(Enum):
    """How a route names its gateway."""

    METRIC = "plain, a metric each"
    NEXTHOP = "by nexthop object"
    SHARED = "plain, one metric"


def _attribute(kind: int, payload: bytes) -> bytes:
    return pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _messages(count: int, index: int, layout: Layout) -> list[tuple[int, bytes]]:
    neighbours, entries, nexthops, routes = [], [], [], []
    entry = Struct("=BxxxiHBB")
    device = pack("=I", index)
    for number in range(1, count + 1):
        subnet = pack(">I", 0x0A000000 + (number << 8))
        public = pack(">I", 0xC0A80000 + number + 1)
        mac = b"\x02\x00" + pack(">I", number)
        body = entry.pack(2, index, 0x80, 0, 0) + _attribute(1, subnet) + _attribute(2, mac)
        neighbours.append((28, body))
        body = entry.pack(7, index, 0x80, 2, 0) + _attribute(1, public) + _attribute(2, mac)
        entries.append((28, body))
        if layout is Layout.NEXTHOP:
            key = pack("=I", 0x10000 + number)
            body = pack("=BBBxI", 2, 0, 3, 4) + _attribute(1, key)
            nexthops.append((104, body + _attribute(5, device) + _attribute(6, subnet)))
            body = pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 3, 0, 1, 0) + _attribute(1, subnet)
            routes.append((24, body + _attribute(30, key)))
        else:
            body = pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 3, 0, 1, 4) + _attribute(1, subnet)
            body += _attribute(4, device) + _attribute(5, subnet)
            if layout is Layout.METRIC:
                body += _attribute(6, pack("=I", number))
            routes.append((24, body))
    return neighbours + entries + nexthops + routes


def _batches(messages: list[tuple[int, bytes]], batch: int) -> list[bytes]:
    packed = []
    for start in range(0, len(messages), batch):
        part = messages[start : start + batch]
        last = len(part) - 1
        packed.append(
            b"".join(
                _HEADER.pack(
                    16 + len(body), kind, _REPLACE | (_ACK if n == last else 0), start + n, 0
                )
                + body
                for n, (kind, body) in enumerate(part)
            )
        )
    return packed


def _send(batches: list[bytes]) -> float:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)
        sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
        sock.setsockopt(270, 10, 1)
        sock.bind((0, 0))
        buffer = bytearray(1 << 16)
        start = time.perf_counter()
        for data in batches:
            sock.send(data)
            sock.recv_into(buffer)
            if buffer[16:20] != bytes(4):
                raise RuntimeError(f"the kernel refused a message: {bytes(buffer[:64])!r}")
        return time.perf_counter() - start


def prepare(netns: Namespace) -> None:
    """An underlay and a vxlan device, as an agent would find and make them."""
    netns.add_veth("eth0", "192.168.0.1/16")
    netns.ip(
        f"link add {_DEVICE} type vxlan id 1 dev eth0 local 192.168.0.1 dstport 8472 nolearning"
    )
    netns.ip(f"link set {_DEVICE} up")


def floor(count: int, batch: int = 256, layout: Layout = Layout.METRIC) -> float:
    """Seconds that the kernel needs for the objects of ``count`` peers, in a fresh namespace."""
    return _add_and_delete(count, batch, layout)[0]


def _add_and_delete(count: int, batch: int, layout: Layout) -> tuple[float, float]:
    with namespace("floor") as netns:
        prepare(netns)
        index = netns.call(lambda: socket.if_nametoindex(_DEVICE))
        batches = _batches(_messages(count, index, layout), batch)
        added = netns.call(lambda: _send(batches))
        start = time.perf_counter()
        netns.ip(f"link delete {_DEVICE}")
        return added, time.perf_counter() - start


if __name__ == "__main__":
    for peers in map(int, sys.argv[1:] or ["1000", "10000", "50000"]):
        for way in Layout:
            if way is Layout.SHARED and peers > 10_000:
                continue  # quadratic: minutes
            adding, deleting = _add_and_delete(peers, 256, way)
            print(f"{peers:>6} peers  {way.value:<20}", end="  ")
            print(f"added {adding:7.3f} s  deleted {deleting:7.3f} s")
