"""ICMP errors: their bytes, about what there is none, and their rate."""

import pytest
from flannel_sdk_udp.userspace.icmp import (
    NET_UNREACHABLE,
    TIME_EXCEEDED,
    TOO_BIG,
    IcmpErrors,
)

from plugins.udp.tests.segments import ipv4, plain_checksum
from plugins.udp.tests.test_threads_work import Letters


def told(packet: bytes, kind: tuple[int, int] = NET_UNREACHABLE, mtu: int = 0) -> Letters:
    letters = Letters()
    IcmpErrors(letters).tell(memoryview(packet), kind, mtu)
    return letters


@pytest.mark.parametrize("options", [b"", b"\x01" * 4])
def test_an_error_quotes_the_header_and_eight_bytes(options: bytes) -> None:
    packet = ipv4(b"0123456789", options=options)
    [(message, to)] = told(packet)
    assert to == "10.5.1.1"
    assert message[:2] == b"\x03\x00"
    assert message[4:] == bytes(4) + packet[: 20 + len(options) + 8]
    assert plain_checksum(message) == 0


def test_the_error_for_a_packet_too_big_tells_the_mtu() -> None:
    [(message, _)] = told(ipv4(b"x"), TOO_BIG, 1372)
    assert message[:2] + message[4:8] == b"\x03\x04\x00\x00\x05\x5c"


@pytest.mark.parametrize(
    ("packet", "kinds"),
    [
        (ipv4(b"x", fragment=1), (NET_UNREACHABLE, TIME_EXCEEDED)),
        (ipv4(b"x", options=b"\x01" * 40), (NET_UNREACHABLE, TIME_EXCEEDED)),
        (ipv4(b"\x08\x00", protocol=1), (NET_UNREACHABLE,)),
        (ipv4(b"\x0b\x00", protocol=1), (NET_UNREACHABLE, TIME_EXCEEDED)),
        (ipv4(b"", protocol=1), (NET_UNREACHABLE, TIME_EXCEEDED)),
        (ipv4(b"x", source="224.0.0.1"), (NET_UNREACHABLE, TIME_EXCEEDED)),
        (ipv4(b"x", source="0.0.0.0"), (NET_UNREACHABLE, TIME_EXCEEDED)),
        (ipv4(b"x", source="127.0.0.1"), (NET_UNREACHABLE, TIME_EXCEEDED)),
    ],
    ids=["fragment", "60 bytes", "echo", "ICMP error", "no ICMP", "group", "nobody", "loopback"],
)
def test_there_is_no_error_about(packet: bytes, kinds: tuple[tuple[int, int], ...]) -> None:
    for kind in kinds:
        assert told(packet, kind) == []


def test_an_echo_whose_time_ends_is_answered() -> None:
    assert len(told(ipv4(b"\x08\x00", protocol=1), TIME_EXCEEDED)) == 1


def test_errors_have_a_rate() -> None:
    now = 0.0
    letters = Letters()
    errors = IcmpErrors(letters, clock=lambda: now)
    packet = memoryview(ipv4(b"x"))
    for _ in range(1500):
        errors.tell(packet, NET_UNREACHABLE)
    assert len(letters) == 1000
    now = 0.25
    for _ in range(1500):
        errors.tell(packet, NET_UNREACHABLE)
    assert len(letters) == 1250


def test_nobody_is_told_without_a_socket() -> None:
    IcmpErrors(None).tell(memoryview(ipv4(b"x")), NET_UNREACHABLE)
