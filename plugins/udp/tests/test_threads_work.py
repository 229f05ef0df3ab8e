"""What a forwarding thread does with each packet, without a TUN device: nothing makes it stop.

A pair of datagram sockets stands in for the device: it keeps packets apart, as the device does.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest
from flannel_sdk_udp.datapath import Counter
from flannel_sdk_udp.userspace.inbound import Inbound
from flannel_sdk_udp.userspace.offload import VNET, VNET_PLAIN
from flannel_sdk_udp.userspace.outbound import Outbound
from flannel_sdk_udp.userspace.table import Table
from flannel_sdk_udp.userspace.tables import Tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flannel_sdk.model import IPAddress, Prefix
from plugins.udp.tests.segments import ipv4, plain_checksum, spent, tcp, tcp_is_right

HOME = IPAddress.parse("127.0.0.1")
PEERS = {
    Prefix.parse("10.5.2.0/24"): HOME,
    Prefix.parse("10.5.3.0/24"): IPAddress.parse("127.0.0.9"),
}
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


class Letters(list[tuple[bytes, str]]):
    """Stands in for the raw socket that ICMP errors leave by."""

    def sendto(self, message: bytes, to: tuple[str, int]) -> object:
        self.append((message, to[0]))
        return None


class Wires:
    """Our ends of the device and of the underlay, and the two kinds of work between."""

    def __init__(self, stack: ExitStack) -> None:
        make = stack.enter_context
        kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.kernel, self.device = make(kernel), make(device)
        self.device.setblocking(False)
        self.kernel.setblocking(False)
        self.ours = make(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.peer = make(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for end in (self.ours, self.peer):
            end.bind(("127.0.0.1", 0))
        self.ours.setsockopt(socket.IPPROTO_UDP, 104, 1)  # UDP_GRO
        self.peer.setblocking(False)
        port = self.peer.getsockname()[1]
        self.tables = Tables(Table(PEERS, port))
        self.post = Letters()
        ends = self.device.fileno(), self.ours, self.tables
        self.outbound = Outbound(*ends, mtu=1472, post=self.post)
        self.inbound = Inbound(*ends, post=self.post)

    def out(self, *packets: bytes, vnet: bytes = VNET_PLAIN) -> list[bytes]:
        """What the peer gets of what the kernel sends into the device."""
        for packet in packets:
            self.kernel.send(vnet + packet)
        self.outbound.work()
        return _drained(self.peer)

    def come(self, *packets: bytes) -> list[bytes]:
        """What the kernel gets, with its vnet header, of what the peer sends to us."""
        for packet in packets:
            self.peer.sendto(packet, self.ours.getsockname())
        self.inbound.work()
        return _drained(self.kernel)


def _drained(sock: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(sock.recv(70000))
        except BlockingIOError:
            return found


def counted(counts: Sequence[int]) -> dict[str, int]:
    return {counter.name: counts[counter] for counter in Counter if counts[counter]}


@pytest.fixture
def wires() -> Iterator[Wires]:
    with ExitStack() as stack:
        yield Wires(stack)


def test_packets_leave_as_they_are_but_for_a_hop(wires: Wires) -> None:
    packets = [ipv4(bytes([n]) * size) for n, size in enumerate([100, 100, 100, 50, 100, 200, 1])]
    assert wires.out(*packets) == list(map(spent, packets))
    size = sum(map(len, packets))
    assert counted(wires.outbound.counts) == {"SENT_PACKETS": 7, "SENT_BYTES": size}


def test_packets_arrive_as_they_are_but_for_a_hop(wires: Wires) -> None:
    packets = [ipv4(bytes([n]) * 100, source="10.5.2.9") for n in range(5)]
    assert wires.come(*packets) == [VNET_PLAIN + spent(packet) for packet in packets]
    size = sum(map(len, packets))
    assert counted(wires.inbound.counts) == {"RECEIVED_PACKETS": 5, "RECEIVED_BYTES": size}


def test_a_large_packet_leaves_in_parts(wires: Wires) -> None:
    whole = tcp(os.urandom(60000))
    parts = wires.out(whole, vnet=VNET.pack(1, 1, 52, 1420, 20, 16))
    assert len(parts) == 43
    assert b"".join(part[52:] for part in parts) == whole[52:]
    assert all(tcp_is_right(part) and part[8] == 63 for part in parts)


def test_a_checksum_left_open_is_made(wires: Wires) -> None:
    packet = tcp(b"abc")
    pseudo = packet[12:20] + bytes([0, 6, 0, len(packet) - 20])
    begun = (~plain_checksum(pseudo) & 0xFFFF).to_bytes(2, "big")
    [sent] = wires.out(packet[:36] + begun + packet[38:], vnet=VNET.pack(1, 0, 0, 0, 20, 16))
    assert sent == spent(packet)


def test_parts_of_a_large_packet_arrive_joined(wires: Wires) -> None:
    parts = [
        tcp(os.urandom(1000), sequence=1000 * n, source="10.5.2.9", destination="10.5.1.1")
        for n in range(10)
    ]
    wires.peer.sendmsg(
        parts, [(socket.IPPROTO_UDP, 103, len(parts[0]).to_bytes(2, "little"))], 0,
        wires.ours.getsockname(),
    )  # fmt: skip
    [whole] = wires.come()
    assert whole[62:] == b"".join(part[52:] for part in parts)
    assert counted(wires.inbound.counts)["RECEIVED_PACKETS"] == 10


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"\x60" + bytes(60), "DROPPED_NOT_IPV4"),
        (b"", "DROPPED_NOT_IPV4"),
        (b"\x45" * 19, "DROPPED_NOT_IPV4"),
        (ipv4(b"x")[:-1], "DROPPED_MALFORMED"),
        (b"\x44" + ipv4(b"x")[1:], "DROPPED_MALFORMED"),
        (b"\x4f" + ipv4(b"x")[1:], "DROPPED_MALFORMED"),
        (ipv4(b"x", destination="10.5.9.9"), "DROPPED_NO_PEER"),
        (ipv4(b"x", ttl=1), "DROPPED_TTL"),
        (ipv4(b"x", ttl=0), "DROPPED_TTL"),
    ],
    ids=["IPv6", "empty", "short", "cut", "header short", "header long", "no peer", "TTL", "TTL 0"],
)
def test_what_does_not_leave_is_counted_once(wires: Wires, packet: bytes, reason: str) -> None:
    assert wires.out(packet) == []
    assert counted(wires.outbound.counts) == {reason: 1}


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"\x60" + bytes(60), "DROPPED_NOT_IPV4"),
        (b"", "DROPPED_NOT_IPV4"),
        (ipv4(b"x", source="10.5.2.9")[:-1], "DROPPED_MALFORMED"),
        (ipv4(b"x", source="10.5.3.9"), "DROPPED_FOREIGN_SOURCE"),
        (ipv4(b"x", source="10.5.1.1"), "DROPPED_FOREIGN_SOURCE"),
        (ipv4(b"x", source="10.5.2.9", ttl=1), "DROPPED_TTL"),
    ],
    ids=["IPv6", "empty", "cut", "another peer's", "ours", "TTL"],
)
def test_what_does_not_come_in_is_counted_once(wires: Wires, packet: bytes, reason: str) -> None:
    assert wires.come(packet) == []
    assert counted(wires.inbound.counts) == {reason: 1}


def test_d29_a_stranger_is_not_heard(wires: Wires) -> None:
    wires.tables.current = wires.tables.current.updated({}, list(PEERS)[:1], full=False)
    assert wires.come(ipv4(b"x", source="10.5.2.9"), b"") == []
    assert counted(wires.inbound.counts) == {"DROPPED_UNKNOWN_SOURCE": 2}


def test_an_unknown_destination_is_told_to_the_sender(wires: Wires) -> None:
    wires.out(ipv4(b"x", destination="10.5.9.9"))
    [(message, to)] = wires.post
    assert (message[:2], to) == (b"\x03\x00", "10.5.1.1")


def test_a_time_that_ends_is_told_to_the_sender(wires: Wires) -> None:
    wires.out(ipv4(b"x", ttl=1))
    wires.come(ipv4(b"x", source="10.5.2.9", ttl=1))
    assert [(message[:2], to) for message, to in wires.post] == [
        (b"\x0b\x00", "10.5.1.1"),
        (b"\x0b\x00", "10.5.2.9"),
    ]


def test_what_the_device_cannot_cut_is_counted(wires: Wires) -> None:
    assert wires.out(ipv4(b"x" * 100), vnet=VNET.pack(0, 3, 28, 50, 0, 0)) == []
    assert wires.out(tcp(b"x" * 100), vnet=VNET.pack(0, 1, 28, 0, 0, 0)) == []
    assert wires.out(ipv4(b"x"), vnet=VNET.pack(1, 0, 0, 0, 500, 0)) == []
    assert counted(wires.outbound.counts) == {"DROPPED_MALFORMED": 3}


headers = st.builds(
    ipv4,
    st.binary(max_size=80),
    protocol=st.sampled_from([1, 6, 17, 255]),
    source=st.sampled_from(["10.5.2.2", "10.5.3.3", "224.0.0.1"]),
    destination=st.sampled_from(["10.5.2.2", "10.5.4.4"]),
    ttl=st.sampled_from([0, 1, 2, 255]),
    fragment=st.sampled_from([0, 0x2000, 0x4001]),
)
segments = st.builds(
    tcp, st.binary(max_size=80), source=st.just("10.5.2.2"), flags=st.integers(0, 255)
)
noise = st.binary(max_size=120)
damaged = st.builds(
    lambda packet, at, value: packet[: at % len(packet)] + value + packet[at % len(packet) + 1 :],
    headers | segments, st.integers(0, 200), st.binary(min_size=1, max_size=1),
)  # fmt: skip
packets = st.lists(noise | headers | segments | damaged, min_size=1, max_size=8)
offloads = st.builds(
    VNET.pack, st.integers(0, 255), st.integers(0, 255), *[st.integers(0, 0xFFFF)] * 4
)


@FUZZ
@given(packets, offloads)
def test_nothing_from_the_device_stops_the_thread(
    wires: Wires, sent: list[bytes], vnet: bytes
) -> None:
    before = sum(wires.outbound.counts)
    wires.out(*sent, vnet=vnet)
    assert sum(wires.outbound.counts) > before


@FUZZ
@given(packets, st.integers(0, 200))
def test_nothing_from_the_underlay_stops_the_thread(
    wires: Wires, sent: list[bytes], segment: int
) -> None:
    counts = wires.inbound.counts
    before = _packets(counts)
    wires.come(*sent)
    assert _packets(counts) == before + len(sent)
    wires.inbound._buffer[:800] = b"".join(sent)[:800].ljust(800, b"\x45")
    wires.inbound._take(800, segment, "127.0.0.1")  # sizes that no kernel would tell
    _drained(wires.peer)
    _drained(wires.kernel)


def _packets(counts: Sequence[int]) -> int:
    return sum(n for c, n in zip(Counter, counts, strict=True) if not c.name.endswith("_BYTES"))
