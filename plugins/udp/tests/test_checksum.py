"""The checksum as a remainder is RFC 1071's."""

from flannel_sdk_udp.userspace.checksum import finished, word_sum
from flannel_sdk_udp.userspace.packets import IPV4, spend_hop
from hypothesis import given
from hypothesis import strategies as st

from plugins.udp.tests.segments import ipv4, plain_checksum


@given(st.binary(max_size=2000))
def test_the_remainder_is_the_sum_of_words(data: bytes) -> None:
    assert finished(word_sum(data)) % 0xFFFF == plain_checksum(data) % 0xFFFF


@given(st.integers(1, 255), st.integers(0, 0xFFFF), st.integers(0, 255))
def test_a_hop_spent_leaves_the_header_right(ttl: int, identity: int, protocol: int) -> None:
    packet = bytearray(ipv4(b"", ttl=ttl, identity=identity, protocol=protocol))
    spend_hop(packet, 0, ttl, protocol, IPV4.unpack_from(packet)[7])
    assert packet[8] == ttl - 1
    assert plain_checksum(packet) == 0


def test_a_wrong_checksum_stays_wrong() -> None:
    packet = bytearray(ipv4(b""))
    packet[10] ^= 1
    spend_hop(packet, 0, 64, 17, IPV4.unpack_from(packet)[7])
    assert plain_checksum(packet) != 0
