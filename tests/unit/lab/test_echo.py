"""ICMP echo: packets byte for byte, and a socket that meets its own replies only."""

import asyncio
import os
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.lab.names import netns_path
from flannel_sdk.model import Family, IPAddress
from flannel_sdk.probing.echo import (
    EchoReply,
    EchoSocket,
    decode_reply,
    encode_request,
    internet_checksum,
)

IPV4_HEADER = bytes([0x45]) + bytes(19)


def test_ipv4_request_is_what_ping_sends() -> None:
    packet = encode_request(Family.IPV4, 0x1234, 1, b"abc")
    assert packet == bytes.fromhex("0800 2168 1234 0001 616263".replace(" ", ""))


def test_ipv6_request_leaves_the_checksum_to_the_kernel() -> None:
    assert encode_request(Family.IPV6, 1, 2, b"") == bytes([128, 0, 0, 0, 0, 1, 0, 2])


@given(st.binary(max_size=200))
def test_data_with_its_checksum_sums_to_zero(data: bytes) -> None:
    even = data + bytes(len(data) % 2)
    checksum = internet_checksum(even)
    assert internet_checksum(even + checksum.to_bytes(2, "big")) == 0


@given(st.integers(0, 65535), st.integers(0, 200_000), st.binary(max_size=64))
def test_a_reply_gives_back_what_was_asked(identifier: int, sequence: int, payload: bytes) -> None:
    request = encode_request(Family.IPV4, identifier, sequence, payload)
    reply = IPV4_HEADER + bytes([0]) + request[1:]
    assert decode_reply(Family.IPV4, reply) == (identifier, sequence & 0xFFFF, payload)


@given(st.binary(max_size=64), st.sampled_from(Family))
def test_any_bytes_are_a_reply_or_none(packet: bytes, family: Family) -> None:
    decoded = decode_reply(family, packet)
    assert decoded is None or len(decoded) == 3


@pytest.fixture
def loopback_netns(lab_rights: None) -> Iterator[str]:
    name = f"flannel-echo-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield netns_path(name)
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.root
@pytest.mark.parametrize(("family", "loopback"), [(Family.IPV4, "127.0.0.1"), (Family.IPV6, "::1")])
async def test_sockets_get_replies_to_their_own_requests_only(
    loopback_netns: str, family: Family, loopback: str
) -> None:
    address = IPAddress.parse(loopback)
    ours, theirs = EchoSocket(loopback_netns, family), EchoSocket(loopback_netns, family)
    replies: asyncio.Queue[EchoReply] = asyncio.Queue()
    foreign: list[EchoReply] = []
    try:
        ours.start_reading(replies.put_nowait)
        theirs.start_reading(foreign.append)
        for sequence in (7, 8):
            assert ours.send(address, sequence, bytes(10)) is None
        async with asyncio.timeout(5):
            assert [await replies.get() for _ in range(2)] == [
                EchoReply(address, 7, 10),
                EchoReply(address, 8, 10),
            ]
        assert foreign == []
    finally:
        ours.close()
        theirs.close()


@pytest.mark.root
async def test_no_route_is_told_at_once(loopback_netns: str) -> None:
    socket = EchoSocket(loopback_netns, Family.IPV4)
    try:
        error = socket.send(IPAddress.parse("192.0.2.1"), 1)
        assert isinstance(error, OSError)
    finally:
        socket.close()
