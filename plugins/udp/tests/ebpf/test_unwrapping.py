"""What the program on the underlay makes of single frames, right and wrong (BPF_PROG_TEST_RUN)."""

import time

import pytest
from flannel_sdk_udp.datapath import Counter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugins.udp.tests.ebpf.conftest import Bench
from plugins.udp.tests.ebpf.frames import (
    HERE,
    PEER,
    STRANGER,
    ethernet,
    ipv4,
    one_hop_less,
    tunnelled,
    udp,
)

pytestmark = pytest.mark.root
NEXT, DROP, REDIRECT = -1, 2, 7
"""TC_ACT_UNSPEC, TC_ACT_SHOT, TC_ACT_REDIRECT."""
INNER = ipv4(b"x" * 100)


@pytest.mark.parametrize(
    "inner",
    [
        INNER,
        ipv4(b""),
        ipv4(b"x" * 1452),
        ipv4(b"x" * 64, options=bytes(8)),
        ipv4(b"x" * 64, options=bytes(40)),
        ipv4(b"x" * 64, fragment=0x2000),
        ipv4(b"x" * 64, fragment=0x00FF),
        ipv4(b"x", ttl=2),
        ipv4(b"x" * 30, protocol=6),
        ipv4(b"x" * 64, checksum=0xFEFF),
    ],
    ids=[
        "usual",
        "empty",
        "largest",
        "options",
        "60-byte header",
        "first fragment",
        "later fragment",
        "last hop but one",
        "tcp",
        "wrong checksum, as it was",
    ],
)
def test_a_packet_of_a_peer_is_unwrapped(bench: Bench, inner: bytes) -> None:
    frame = tunnelled(inner)
    verdict, after, counted = bench.receive(frame)
    assert verdict == REDIRECT
    assert counted == {Counter.RECEIVED_PACKETS: 1, Counter.RECEIVED_BYTES: len(inner)}
    assert after == frame[:14] + one_hop_less(inner)


def test_bytes_behind_the_packet_are_no_harm(bench: Bench) -> None:
    verdict, after, counted = bench.receive(tunnelled(INNER) + bytes(20))
    assert verdict == REDIRECT
    assert after[14:].startswith(one_hop_less(INNER))
    assert counted[Counter.RECEIVED_BYTES] == len(INNER)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (tunnelled(INNER, source=STRANGER), Counter.DROPPED_UNKNOWN_SOURCE),
        (tunnelled(b"", source=STRANGER), Counter.DROPPED_UNKNOWN_SOURCE),
        (tunnelled(ipv4(b"x", source=bytes([10, 5, 3, 7]))), Counter.DROPPED_FOREIGN_SOURCE),
        (tunnelled(ipv4(b"x", source=PEER)), Counter.DROPPED_FOREIGN_SOURCE),
        (tunnelled(b"\x60" + bytes(60)), Counter.DROPPED_NOT_IPV4),
        (tunnelled(bytes(60)), Counter.DROPPED_NOT_IPV4),
        (tunnelled(b""), Counter.DROPPED_MALFORMED),
        (tunnelled(INNER[:19]), Counter.DROPPED_MALFORMED),
        (tunnelled(ipv4(b"x" * 40, words=4)), Counter.DROPPED_MALFORMED),
        (tunnelled(ipv4(b"", words=6)), Counter.DROPPED_MALFORMED),
        (tunnelled(ipv4(b"x" * 40, length=61)), Counter.DROPPED_MALFORMED),
        (tunnelled(ipv4(b"x" * 40, length=19)), Counter.DROPPED_MALFORMED),
        (tunnelled(ipv4(b"x" * 40, length=0)), Counter.DROPPED_MALFORMED),
    ],
)
def test_what_is_not_a_peers_packet_is_dropped_and_counted(
    bench: Bench, frame: bytes, reason: Counter
) -> None:
    verdict, _, counted = bench.receive(frame)
    assert (verdict, counted) == (DROP, {reason: 1})


@pytest.mark.parametrize(
    "frame",
    [
        ethernet(ipv4(udp(INNER), source=PEER, destination=STRANGER)),
        ethernet(ipv4(udp(INNER, port=8286), source=PEER, destination=HERE)),
        ethernet(ipv4(udp(INNER), source=PEER, destination=HERE, protocol=6)),
        ethernet(ipv4(udp(INNER), source=PEER, destination=HERE, fragment=0x2000)),
        ethernet(ipv4(udp(INNER), source=PEER, destination=HERE, fragment=1)),
        ethernet(ipv4(udp(INNER), source=PEER, destination=HERE, options=bytes(4))),
        ethernet(ipv4(udp(INNER), source=PEER, destination=HERE, checksum=1)),
        ethernet(ipv4(udp(INNER, length=7), source=PEER, destination=HERE)),
        ethernet(ipv4(udp(INNER, length=9), source=PEER, destination=HERE)),
        ethernet(ipv4(udp(INNER), source=PEER, destination=HERE, length=27)),
        ethernet(ipv4(udp(INNER), source=PEER, destination=HERE, length=1500)),
        ethernet(ipv4(udp(INNER), source=PEER, destination=HERE), kind=0x86DD),
        ethernet(ipv4(udp(INNER), source=PEER, destination=HERE), to=bytes([2] * 6)),
        tunnelled(ipv4(b"x", ttl=1)),
        tunnelled(ipv4(b"x", ttl=0)),
        tunnelled(ipv4(b"x" * 1453)),
    ],
    ids=[
        "another address",
        "another port",
        "not UDP",
        "first fragment",
        "last fragment",
        "options",
        "checksum",
        "UDP too short",
        "UDP length another",
        "length too short",
        "length too long",
        "not IPv4",
        "another station",
        "last hop",
        "no hop",
        "larger than the tunnel's MTU",
    ],
)
def test_the_rest_goes_on_as_it_was(bench: Bench, frame: bytes) -> None:
    assert bench.receive(frame) == (NEXT, frame, {})


def test_nothing_is_taken_for_a_device_that_is_gone(bench: Bench) -> None:
    bench.netns.ip("link add gone type veth peer name other")
    try:
        frame = tunnelled(INNER, source=STRANGER)
        with bench.tunnel_device("gone"):
            assert bench.receive(frame)[0] == DROP
            bench.netns.ip("link delete gone")
            assert bench.receive(frame) == (NEXT, frame, {})
    finally:
        assert bench.receive(tunnelled(INNER))[0] == REDIRECT


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    frame=st.one_of(
        # the kernel tests no program with less than an IPv4 header
        st.binary(min_size=34, max_size=200),
        st.binary(max_size=120).map(tunnelled),
        st.builds(
            lambda at, value, cut: (
                tunnelled(INNER)[:at] + bytes([value]) + tunnelled(INNER)[at + 1 :]
            )[:cut],
            st.integers(0, 90),
            st.integers(0, 255),
            st.integers(34, 170),
        ),
    )
)
def test_no_frame_gives_anything_but_a_packet_a_counted_drop_or_itself(
    bench: Bench, frame: bytes
) -> None:
    verdict, after, counted = bench.receive(frame)
    if verdict == REDIRECT:
        assert len(after) == len(frame) - 28
        assert frame[26:30] == PEER
        assert after[14] >> 4 == 4
        assert after[26:29] == bytes([10, 5, 2])
        assert after[22] == frame[50] - 1
        assert set(counted) == {Counter.RECEIVED_PACKETS, Counter.RECEIVED_BYTES}
    elif verdict == DROP:
        assert list(counted.values()) == [1]
    else:
        assert (verdict, after, counted) == (NEXT, frame, {})


def test_what_has_the_tag_of_a_vlan_is_left_for_that_vlans_device(bench: Bench) -> None:
    before = bench.programs.counters()
    vlan_100 = b"\x81\x00\x00\x64"
    bench.come_in([tag + tunnelled(INNER)[12:] for tag in (vlan_100, b"")])
    deadline = time.monotonic() + 5
    while not (counted := bench.counted_since(before)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert counted == {Counter.RECEIVED_PACKETS: 1, Counter.RECEIVED_BYTES: len(INNER)}
