"""What the program on the tunnel device makes of single packets, sent through a packet socket."""

from functools import partial

import pytest
from flannel_sdk_udp.datapath import Counter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugins.udp.tests.ebpf.conftest import PEER_MAC, Bench
from plugins.udp.tests.ebpf.frames import HERE, PEER, ipv4, one_hop_less, udp

pytestmark = pytest.mark.root
HERE_IN, THERE_IN = bytes([10, 5, 1, 7]), bytes([10, 5, 2, 7])


to_peer = partial(ipv4, b"x" * 100, source=HERE_IN, destination=THERE_IN)


def sized(payload: int) -> bytes:
    return ipv4(b"x" * payload, source=HERE_IN, destination=THERE_IN)


def on_the_wire(inner: bytes) -> bytes:
    """The IPv4 packet that flannel's udp backend makes of it."""
    return ipv4(udp(one_hop_less(inner)), source=HERE, destination=PEER, fragment=0x4000)


@pytest.mark.parametrize(
    "inner",
    [
        to_peer(),
        sized(0),
        sized(1452),
        to_peer(ttl=2),
        to_peer(fragment=0x2000),
        to_peer(fragment=0x00FF),
        to_peer(fragment=0x4000),
        to_peer(protocol=6),
        ipv4(b"x" * 64, source=HERE_IN, destination=THERE_IN, options=bytes(40)),
    ],
    ids=[
        "usual",
        "empty",
        "largest",
        "last hop but one",
        "first fragment",
        "last fragment",
        "DF",
        "tcp",
        "options",
    ],
)
@pytest.mark.parametrize("forwarding", [1, 0])
def test_a_packet_for_a_peer_goes_out_as_flannel_sends_it(
    bench: Bench, inner: bytes, forwarding: int
) -> None:
    bench.netns.exec(f"sysctl -qw net.ipv4.ip_forward={forwarding}")
    frame, _, counted = bench.send(inner)
    assert frame[:6] == PEER_MAC
    assert frame[12:] == b"\x08\0" + on_the_wire(inner)
    assert counted == {Counter.SENT_PACKETS: 1, Counter.SENT_BYTES: len(inner)}


@pytest.mark.parametrize(
    ("packet", "kind", "reason"),
    [
        (b"\x60" + bytes(60), 0x86DD, Counter.DROPPED_NOT_IPV4),
        (to_peer(version=6), 0x0800, Counter.DROPPED_NOT_IPV4),
        (to_peer(), 0x86DD, Counter.DROPPED_NOT_IPV4),
        (b"hello, world", 0x88B5, Counter.DROPPED_NOT_IPV4),
        (b"x", 0x0800, Counter.DROPPED_MALFORMED),
        (to_peer()[:19], 0x0800, Counter.DROPPED_MALFORMED),
        (to_peer(words=4), 0x0800, Counter.DROPPED_MALFORMED),
        (to_peer(length=19), 0x0800, Counter.DROPPED_MALFORMED),
        (to_peer(length=0), 0x0800, Counter.DROPPED_MALFORMED),
        (to_peer(length=121), 0x0800, Counter.DROPPED_MALFORMED),
    ],
)
def test_what_is_no_ipv4_packet_is_dropped_and_counted(
    bench: Bench, packet: bytes, kind: int, reason: Counter
) -> None:
    assert bench.send(packet, kind) == (b"", b"", {reason: 1})


@pytest.mark.parametrize(
    "packet",
    [to_peer(ttl=1), to_peer(ttl=0), ipv4(b"x" * 40, source=HERE_IN, destination=b"\n\5\3\7")],
    ids=["last hop", "no hop", "nobody's subnet"],
)
def test_the_rest_goes_to_our_process_as_it_was(bench: Bench, packet: bytes) -> None:
    assert bench.send(packet) == (b"", packet, {})


def test_a_packet_too_big_for_the_way_goes_to_our_process(bench: Bench) -> None:
    bench.netns.exec("sysctl -qw net.ipv4.ip_forward=1")
    bench.netns.ip("route add 192.0.2.2/32 dev eth0 mtu lock 1000")
    try:
        for size in (973, 1200):
            inner = sized(size - 20)
            assert bench.send(inner) == (b"", inner, {})
        assert bench.send(sized(952))[0][14:] == on_the_wire(sized(952))
    finally:
        bench.netns.ip("route delete 192.0.2.2/32")


@pytest.mark.parametrize("kind", ["blackhole", "unreachable", "prohibit"])
def test_a_packet_without_a_way_goes_to_our_process(bench: Bench, kind: str) -> None:
    bench.netns.exec("sysctl -qw net.ipv4.ip_forward=1")
    bench.netns.ip(f"route add {kind} 192.0.2.2/32")
    try:
        assert bench.send(to_peer()) == (b"", to_peer(), {})
    finally:
        bench.netns.ip(f"route delete {kind} 192.0.2.2/32")


def test_a_way_through_the_tunnel_itself_is_no_way(bench: Bench) -> None:
    bench.netns.exec("sysctl -qw net.ipv4.ip_forward=1")
    bench.netns.ip("route add 192.0.2.2/32 dev flannel0")
    try:
        assert bench.send(to_peer()) == (b"", b"", {Counter.DROPPED_SEND_FAILED: 1})
    finally:
        bench.netns.ip("route delete 192.0.2.2/32")


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    packet=st.one_of(
        st.binary(min_size=1, max_size=200),
        st.builds(
            lambda at, value, cut: (to_peer()[:at] + bytes([value]) + to_peer()[at + 1 :])[:cut],
            st.integers(0, 30),
            st.integers(0, 255),
            st.integers(1, 140),
        ),
    )
)
def test_no_packet_gives_anything_but_a_datagram_a_counted_drop_or_itself(
    bench: Bench, packet: bytes
) -> None:
    frame, left, counted = bench.send(packet)
    if frame:
        whole = packet[: int.from_bytes(packet[2:4], "big")]
        assert frame[14 : 14 + 28 + len(whole)] == on_the_wire(whole)
        assert packet[16:19] == bytes([10, 5, 2])
        assert set(counted) == {Counter.SENT_PACKETS, Counter.SENT_BYTES}
    elif left:
        assert (left, counted) == (packet, {})
    else:
        assert list(counted.values()) == [1]
