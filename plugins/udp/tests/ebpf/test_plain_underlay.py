"""An underlay without link headers: a TUN device whose other end is the test."""

import os
import socket
from collections.abc import Iterator
from functools import partial
from struct import pack

import pytest
from flannel_sdk_udp.datapath import Counter, Peer
from flannel_sdk_udp.ebpf.attachment import Attachment

from flannel_sdk.dataplane import open_tun
from flannel_sdk.model import IPAddress, Prefix
from flannel_sdk.testing.namespaces import Namespace
from plugins.udp.tests.ebpf.frames import HERE, PEER, ipv4, one_hop_less, udp
from plugins.udp.tests.ebpf.test_keeping import tunnel
from tests.overlay import Node

pytestmark = pytest.mark.root
NO_OFFLOAD = bytes(10)
"""A virtio_net_hdr that says nothing."""


@pytest.fixture
def devices(netns: Namespace) -> Iterator[dict[str, int]]:
    """Descriptors by name of the underlay and the tunnel."""
    quiet = "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
    netns.exec(f"sysctl -qw net.ipv4.ip_forward=1 {quiet}")
    made = {name: netns.call(partial(open_tun, name)) for name in ("eth0", "flannel0")}
    netns.ip("address add 192.0.2.1/24 dev eth0")
    netns.ip("address add 10.5.1.7/32 dev lo")
    for name in made:
        netns.ip(f"link set {name} up")
    netns.ip("route add 10.5.0.0/16 dev flannel0 src 10.5.1.7")
    yield made
    for descriptor in made.values():
        os.close(descriptor)


def test_packets_go_both_ways(netns: Namespace, devices: dict[str, int]) -> None:
    made = Attachment(tunnel(Node(1, netns, netns), "flannel0"))
    netns.call(made.attach)
    peers = {Prefix.parse("10.5.2.0/24"): Peer(IPAddress(PEER), in_kernel=True)}
    netns.call(lambda: made.change_peers(peers, [], full=True))

    def pod_socket() -> socket.socket:
        pod = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        pod.bind(("10.5.1.7", 5000))
        pod.settimeout(3)
        return pod

    with netns.call(pod_socket) as pod:
        pod.sendto(b"there", ("10.5.2.7", 5001))
        packet = os.read(devices["eth0"], 2000)[10:]
        inner = packet[28:]
        assert packet == ipv4(udp(inner), source=HERE, destination=PEER, fragment=0x4000)
        datagram = pack("!4H", 5001, 5000, 12, 0) + b"back"
        wrapped = ipv4(udp(one_hop_less(ipv4(datagram))), source=PEER, destination=HERE)
        os.write(devices["eth0"], NO_OFFLOAD + wrapped)
        assert pod.recv(100) == b"back"
    counters = made.counters()
    assert (counters[Counter.SENT_PACKETS], counters[Counter.RECEIVED_PACKETS]) == (1, 1)
    made.close()
