"""A namespace with the two devices, and the programs loaded and configured for them."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flannel_sdk_udp.datapath import Counter
from flannel_sdk_udp.ebpf.programs import LoadedPrograms, Settings, Target
from flannel_sdk_udp.ebpf.traffic_control import EGRESS, INGRESS, Filter, TrafficControl

from flannel_sdk.dataplane import open_tun
from flannel_sdk.model import IPAddress, Prefix
from flannel_sdk.testing.namespaces import Namespace, namespace
from plugins.udp.tests.ebpf.frames import HERE, PEER, PORT
from plugins.udp.tests.ebpf.running import run_program

PEER_MAC = bytes([2, 0, 0, 0, 0, 2])
SUBNET = Prefix.parse("10.5.2.0/24")


class Bench:
    """The programs in a namespace: frames in, verdicts and counters out."""

    def __init__(self, netns: Namespace) -> None:
        self.netns = netns
        quiet = "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
        netns.exec(f"sysctl -qw net.ipv4.ip_forward=1 {quiet}")
        netns.add_veth("eth0", "192.0.2.1/24", peer="wire")
        self.tun = netns.call(lambda: open_tun("flannel0"))
        netns.ip("link set flannel0 mtu 1472 up")
        netns.ip(f"neigh add 192.0.2.2 lladdr {PEER_MAC.hex(':')} dev eth0 nud permanent")
        self.programs = LoadedPrograms()
        self._configure("flannel0")
        self.programs.change_peers({SUBNET: Target(IPAddress(PEER), carried=True)}, set())
        netns.call(self._filter)
        self.wire = netns.call(lambda: _tap("wire"))
        self._sender = netns.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))

    def _filter(self) -> None:
        with TrafficControl() as control:
            for device, hook, program in (
                ("flannel0", EGRESS, self.programs.to_peers),
                ("eth0", INGRESS, self.programs.from_peers),
            ):
                ifindex = socket.if_nametoindex(device)
                control.share_clsact(ifindex)
                control.put(Filter(ifindex, hook, PORT, "bench", 0), program)

    def _configure(self, device: str) -> None:
        indexes = self.netns.call(lambda: [socket.if_nametoindex(n) for n in (device, "eth0")])
        self.programs.configure(Settings(IPAddress(HERE), PORT, 14, *indexes))

    @contextmanager
    def tunnel_device(self, device: str) -> Iterator[None]:
        """Another device is the tunnel's for the block."""
        self._configure(device)
        try:
            yield
        finally:
            self._configure("flannel0")

    def close(self) -> None:
        self.wire.close()
        self._sender.close()
        self.programs.close()
        os.close(self.tun)

    def receive(self, frame: bytes) -> tuple[int, bytes, dict[Counter, int]]:
        """What ``from_peers`` makes of a frame: verdict, the frame after it, what it counted."""
        before = self.programs.counters()
        verdict, after = self.netns.call(lambda: run_program(self.programs.from_peers, frame))
        return verdict, after, self.counted_since(before)

    def send(self, packet: bytes, kind: int = 0x0800) -> tuple[bytes, bytes, dict[Counter, int]]:
        """What becomes of a packet to the tunnel: a frame out, or one for our process; counters."""
        before = self.programs.counters()
        try:
            self._sender.sendto(packet, ("flannel0", kind))
        except OSError as error:  # what the sender of a packet that a filter drops is told
            if error.errno != errno.ENOBUFS:
                raise
        counted = self.counted_since(before)
        frame = left = b""
        if Counter.SENT_PACKETS in counted:
            frame = self.wire.recv(65535)
        elif not counted:
            # behind a virtio_net_hdr
            left = os.read(self.tun, 65535)[10:]
        return frame, left, counted

    def come_in(self, rests: list[bytes]) -> None:
        """Frames for eth0 from the other end of its wire, after both addresses; in their order."""
        own = bytes.fromhex(self.netns.exec("cat /sys/class/net/eth0/address").replace(":", ""))
        for rest in rests:
            self._sender.sendto(own + PEER_MAC + rest, ("wire", 0))

    def counted_since(self, before: dict[Counter, int]) -> dict[Counter, int]:
        """Counters that differ from ``before``, by how much."""
        return {
            counter: number - before[counter]
            for counter, number in self.programs.counters().items()
            if number != before[counter]
        }


def _tap(device: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    made.bind((device, 0x0800))
    made.settimeout(2)
    return made


@pytest.fixture(scope="module")
def bench(_namespaces_work: str | None) -> Iterator[Bench]:
    if _namespaces_work is not None:
        pytest.skip(_namespaces_work)
    with namespace("bench") as netns:
        made = Bench(netns)
        try:
            yield made
        finally:
            made.close()
