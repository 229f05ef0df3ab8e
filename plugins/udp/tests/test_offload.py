"""Cutting and joining large TCP packets: checksums, flags, numbers, and what is refused."""

import random

import pytest
from flannel_sdk_udp.userspace.offload import VNET, complete_checksum, cut_tcp, join_tcp
from hypothesis import given
from hypothesis import strategies as st

from plugins.udp.tests.segments import ACK, CWR, FIN, PSH, ipv4, plain_checksum, tcp, tcp_is_right

HEADERS = 52


def datagrams(packet: bytes, segment: int) -> list[bytes]:
    cut = cut_tcp(memoryview(bytearray(packet)), segment)
    assert cut is not None
    pairs = zip(cut.views[::2], cut.views[1::2], strict=True)
    made = [bytes(head) + bytes(data) for head, data in pairs]
    assert {len(one) for one in made[:-1]} <= {cut.size}
    assert len(made[-1]) <= cut.size
    return made


@given(
    st.integers(0, 3000),
    st.integers(100, 1500),
    st.integers(0, 2**32 - 1),
    st.sampled_from([ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN | CWR]),
    st.sampled_from([b"", b"\x01" * 8]),
)
def test_each_part_of_a_large_packet_is_a_right_packet(
    size: int, segment: int, sequence: int, flags: int, ip_options: bytes
) -> None:
    identity = sequence & 0xFFFF
    data = random.Random(size).randbytes(size)
    whole = tcp(data, sequence=sequence, flags=flags, identity=identity, ip_options=ip_options)
    # What the kernel hands out has no checksum yet.
    place = len(ip_options) + 20 + 16
    made = datagrams(whole[:place] + b"\x12\x34" + whole[place + 2 :], segment)
    header = HEADERS + len(ip_options)
    assert b"".join(part[header:] for part in made) == data
    assert all(map(tcp_is_right, made))
    start = header - 32
    for number, part in enumerate(made):
        wanted = (sequence + number * segment) % 2**32
        assert int.from_bytes(part[start + 4 : start + 8], "big") == wanted
        last = number == len(made) - 1
        assert part[start + 13] & (PSH | FIN) == (flags & (PSH | FIN) if last else 0)
        assert part[start + 13] & CWR == (flags & CWR if number == 0 else 0)
        assert int.from_bytes(part[4:6], "big") == (identity + number) % 65536


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        ipv4(b"x" * 100),
        tcp(b"")[:39],
        ipv4(tcp(b"x")[20:], protocol=6, fragment=0x2000),
        ipv4(b"\0" * 12 + b"\xf0" + b"\0" * 7, protocol=6),
        ipv4(b"\0" * 12 + b"\x40" + b"\0" * 7, protocol=6),
    ],
    ids=["empty", "UDP", "short", "fragment", "header past the end", "header too short"],
)
def test_what_is_no_whole_tcp_packet_is_not_cut(packet: bytes) -> None:
    assert cut_tcp(memoryview(bytearray(packet)), 100) is None


def run(count: int, size: int = 1000, last: int | None = None, flags: int = ACK) -> list[bytes]:
    sizes = [size] * (count - 1) + [size if last is None else last]
    return [
        tcp(
            random.Random(number).randbytes(each),
            sequence=(2**32 - 2000 + number * size) % 2**32,
            identity=number,
            flags=flags if number == count - 1 else ACK,
        )
        for number, each in enumerate(sizes)
    ]


def joined(packets: list[bytes]) -> tuple[bytes, int, int] | None:
    """vnet header and packet, the datagrams joined, and where the rest begins."""
    buffer = memoryview(bytearray(b"".join(packets)))
    found = join_tcp(buffer, 0, len(buffer), len(packets[0]))
    return found and (b"".join(found.views), found.datagrams, found.end)


@pytest.mark.parametrize("flags", [ACK, ACK | PSH])
@pytest.mark.parametrize("last", [1000, 999, 1])
@pytest.mark.parametrize("count", [2, 3, 40])
def test_consecutive_segments_become_one_packet(count: int, last: int, flags: int) -> None:
    packets = run(count, last=last, flags=flags)
    found = joined(packets)
    assert found is not None
    whole, datagrams, end = found
    assert (datagrams, end) == (count, sum(map(len, packets)))
    assert VNET.unpack(whole[:10]) == (1, 1, HEADERS, 1000, 20, 16)
    packet = bytearray(whole[10:])
    assert packet[HEADERS:] == b"".join(one[HEADERS:] for one in packets)
    assert packet[8] == 63
    assert packet[33] == flags
    assert complete_checksum(memoryview(packet), 20, 16)
    assert tcp_is_right(bytes(packet))


def changed(packet: bytes, place: int, value: int) -> bytes:
    return packet[:place] + bytes([value]) + packet[place + 1 :]


@pytest.mark.parametrize(
    "other",
    [
        tcp(b"x" * 1000, sequence=2001),
        tcp(b"x" * 1000, sequence=2000, window=501),
        tcp(b"x" * 1000, sequence=2000, flags=ACK | FIN),
        tcp(b"x" * 1000, sequence=2000, source="10.5.9.9"),
        tcp(b"x" * 1000, sequence=2000, ttl=63),
        tcp(b"x" * 1000, sequence=2000, options=b"\x01" * 12),
        tcp(b"x" * 996, sequence=2000, options=b"\x01" * 16),
        ipv4(b"x" * 1032),
        changed(tcp(b"x" * 1000, sequence=2000), 700, 1),
        changed(tcp(b"x" * 1000, sequence=2000), 3, 0),
        tcp(b"", sequence=2000),
        b"",
    ],
    ids=["gap", "window", "FIN", "source", "TTL", "options", "longer options", "UDP", "damaged",
         "wrong length", "no data", "alone"],
)  # fmt: skip
def test_what_does_not_follow_is_not_joined(other: bytes) -> None:
    assert joined([tcp(b"y" * 1000, sequence=1000), other]) is None


@pytest.mark.parametrize(
    "first",
    [
        tcp(b"y" * 999, sequence=1001),
        tcp(b"y" * 1000, ttl=1),
        tcp(b"y" * 1000, flags=ACK | PSH),
        tcp(b"y" * 1000, flags=ACK | FIN),
        tcp(b"y" * 1000, ip_options=b"\x01" * 4),
    ],
    ids=["odd", "TTL", "PSH", "FIN", "IP options"],
)
def test_what_may_not_begin_a_large_packet_does_not(first: bytes) -> None:
    assert joined([first, tcp(b"x" * 999, sequence=2000)]) is None


def test_a_gap_ends_what_is_joined() -> None:
    packets = [*run(3), tcp(b"x" * 1000, sequence=5)]
    found = joined(packets)
    assert found is not None
    assert found[1:] == (3, sum(map(len, packets[:3])))


def test_no_more_is_joined_than_an_ip_packet_holds() -> None:
    packets = run(64, size=1400)
    found = joined(packets)
    assert found is not None
    assert len(found[0]) - 10 <= 65535
    assert found[1] == 46


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 400))
def test_no_bytes_break_joining_or_cutting(data: bytes, size: int, segment: int) -> None:
    view = memoryview(bytearray(data))
    join_tcp(view, 0, len(view), size)
    cut_tcp(view, segment)


@given(st.data())
def test_no_damage_breaks_joining_and_none_is_mended(data: st.DataObject) -> None:
    packets = run(4, size=100)
    buffer = bytearray(b"".join(packets))
    place = data.draw(st.integers(0, len(buffer) - 1))
    buffer[place] ^= data.draw(st.integers(1, 255))
    view = memoryview(buffer)
    found = join_tcp(view, 0, len(view), len(packets[0]))
    if found is not None:
        assert found.end <= place // len(packets[0]) * len(packets[0])


def test_a_checksum_outside_of_the_packet_is_refused() -> None:
    packet = memoryview(bytearray(ipv4(b"12345678\0\0")))
    assert not complete_checksum(packet, 20, 9)
    assert not complete_checksum(packet, 65535, 65535)
    assert complete_checksum(packet, 20, 8)
    assert plain_checksum(bytes(packet[20:])) == 0
