"""ICMP errors: their bytes, about what there is none, and their rate."""

import pytest
from flannel_sdk_udp.userspace.icmp import (
    NET_UNREACHABLE,
    TIME_EXCEEDED,
    TOO_BIG,
    IcmpErrors,
)

from flannel_sdk.model import IPAddress
from plugins.udp.tests.segments import ipv4, packed, plain_checksum

OWN = IPAddress.parse("10.5.1.0")


def about(packet: bytes, kind: tuple[int, int] = NET_UNREACHABLE, mtu: int = 0) -> bytes | None:
    return IcmpErrors(OWN).about(memoryview(packet), kind, mtu)


@pytest.mark.parametrize("options", [b"", b"\x01" * 4])
def test_an_error_quotes_the_header_and_eight_bytes(options: bytes) -> None:
    packet = ipv4(b"0123456789", options=options)
    message = about(packet)
    assert message is not None
    quoted = packet[: 20 + len(options) + 8]
    assert message[:10] == bytes([0x45, 0, 0, 28 + len(quoted), 0, 0, 0, 0, 8, 1])
    assert message[12:20] == OWN + packed("10.5.1.1")
    assert message[20:22] == b"\x03\x00"
    assert message[24:] == bytes(4) + quoted
    assert plain_checksum(message[:20]) == plain_checksum(message[20:]) == 0


def test_the_error_for_a_packet_too_big_tells_the_mtu() -> None:
    message = about(ipv4(b"x"), TOO_BIG, 1372)
    assert message is not None
    assert message[20:22] + message[24:28] == b"\x03\x04\x00\x00\x05\x5c"


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
        assert about(packet, kind) is None


def test_an_echo_whose_time_ends_is_answered() -> None:
    assert about(ipv4(b"\x08\x00", protocol=1), TIME_EXCEEDED) is not None


def test_errors_have_a_rate() -> None:
    now = 0.0
    errors = IcmpErrors(OWN, clock=lambda: now)
    packet = memoryview(ipv4(b"x"))

    def answered() -> int:
        return sum(errors.about(packet, NET_UNREACHABLE) is not None for _ in range(1500))

    assert answered() == 1000
    now = 0.25
    assert answered() == 250
