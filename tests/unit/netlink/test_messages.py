"""Netlink messages byte for byte, and what of the kernel's error messages is told."""

import errno
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.messages import (
    Answer,
    attribute,
    attributes,
    describe,
    message,
    number,
    parse_answer,
    word,
)


def test_a_message_is_as_long_as_it_says() -> None:
    assert message(24, 5, 7, b"body") == struct.pack("=IHHII", 20, 24, 5, 7, 0) + b"body"


def test_attributes_are_padded_and_their_length_is_not() -> None:
    assert attribute(3, b"abcde") == struct.pack("=HH", 9, 3) + b"abcde\0\0\0"
    assert word(5, 0x01020304) == attribute(5, struct.pack("=I", 0x01020304))


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40))), st.binary(max_size=8))
def test_attributes_read_back_and_the_last_of_a_type_wins(
    found: list[tuple[int, bytes]], before: bytes
) -> None:
    packed = before + b"".join(attribute(kind, payload) for kind, payload in found)
    assert attributes(packed, len(before), len(packed)) == dict(found)


def test_flags_in_a_type_are_ignored() -> None:
    nested = attribute(0x8000 | 18, b"abcd")
    assert attributes(nested, 0, len(nested)) == {18: b"abcd"}


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_an_impossible_length_ends_the_walk_and_keeps_what_came_before(length: int) -> None:
    packed = attribute(1, b"good") + struct.pack("=HH", length, 2) + b"bad!"
    assert attributes(packed, 0, len(packed)) == {1: b"good"}


@given(st.binary(max_size=64))
def test_garbage_ends_the_walk(garbage: bytes) -> None:
    assert all(
        len(value) <= len(garbage) for value in attributes(garbage, 0, len(garbage)).values()
    )


@given(st.integers(0, 2**32 - 1))
def test_numbers_are_in_the_order_of_the_host(value: int) -> None:
    assert number(value.to_bytes(4, sys.byteorder)) == value
    assert number(None) == 0


REQUEST = message(c.RTM_NEWROUTE, c.NLM_F_REQUEST, 9, b"request!")
WORDS = attribute(c.NLMSGERR_ATTR_MSG, b"Nexthop has invalid gateway\0")


def answer(code: int, flags: int, rest: bytes, before: bytes = b"") -> Answer:
    body = struct.pack("=i", -code) + rest
    packed = before + message(c.NLMSG_ERROR, flags, 9, body)
    return parse_answer(packed, len(before), len(packed), flags, 9)


def test_an_acknowledgement_has_no_reason() -> None:
    assert answer(0, c.NLM_F_CAPPED, REQUEST[:16]) == Answer(9, 0, "")


@pytest.mark.parametrize("before", [b"", b"12345678"])
@pytest.mark.parametrize(
    ("flags", "rest"),
    [
        (c.NLM_F_ACK_TLVS | c.NLM_F_CAPPED, REQUEST[:16] + WORDS),
        (c.NLM_F_ACK_TLVS, REQUEST + WORDS),
    ],
    ids=["the request's header", "the whole request"],
)
def test_the_kernels_own_words_come_first(flags: int, rest: bytes, before: bytes) -> None:
    found = answer(errno.EINVAL, flags, rest, before)
    assert found == Answer(9, errno.EINVAL, "Nexthop has invalid gateway (EINVAL)")


def test_without_words_of_the_kernel_there_are_those_of_libc() -> None:
    found = answer(errno.EEXIST, c.NLM_F_CAPPED, REQUEST[:16] + WORDS)
    assert found.reason == "File exists (EEXIST)"
    found = answer(errno.EEXIST, c.NLM_F_CAPPED | c.NLM_F_ACK_TLVS, REQUEST[:16])
    assert found.reason == "File exists (EEXIST)"


def test_an_unknown_number_is_said_as_one() -> None:
    assert describe(524, "not so") == "not so (524)"
