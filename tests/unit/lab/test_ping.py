"""Pings of all pairs: who is asked, what counts as an answer, and what the matrix tells."""

import asyncio
import time

import pytest

from flannel_sdk.lab.ping import Matrix, Pair, PairResult, Pod, ping_all
from flannel_sdk.model import Family, IPAddress
from flannel_sdk.testing.namespaces import Namespace


def ip(text: str) -> IPAddress:
    return IPAddress.parse(text)


def result(source: int, destination: int, *, answered_after: float | None) -> PairResult:
    round_trip = None if answered_after is None else 0.0015
    pair = Pair(source, destination, Family.IPV4)
    return PairResult(pair, ip("192.0.2.1"), 2, round_trip, answered_after)


def test_a_matrix_is_complete_when_all_have_answered() -> None:
    matrix = Matrix((result(1, 2, answered_after=0.25), result(2, 1, answered_after=0.5)))
    assert matrix.complete
    assert matrix.silent == []
    assert matrix.elapsed == 0.5


def test_the_silent_are_named_and_not_timed() -> None:
    matrix = Matrix((result(1, 2, answered_after=0.25), result(2, 1, answered_after=None)))
    assert not matrix.complete
    assert matrix.silent == [Pair(2, 1, Family.IPV4)]
    assert matrix.elapsed == 0.25
    shown = matrix.to_json()
    assert (shown["complete"], shown["elapsed_s"]) == (False, 0.25)
    assert isinstance(shown["pairs"], list)
    assert [pair["rtt_ms"] for pair in shown["pairs"]] == [1.5, None]
    assert [pair["answered"] for pair in shown["pairs"]] == [True, False]


async def test_nobody_has_nothing_to_say_and_it_takes_no_time() -> None:
    matrix = await ping_all([], timeout=60)
    assert matrix.complete
    assert matrix.elapsed == 0.0


@pytest.fixture
def pods(netns: Namespace) -> list[Pod]:
    """Three pods in one namespace; the second has IPv4 only, and the third is not there."""
    netns.ip("address add 192.0.2.1/32 dev lo")
    netns.ip("address add 192.0.2.2/32 dev lo")
    netns.ip("address add 2001:db8::1/128 dev lo nodad")
    netns.ip("route add blackhole 192.0.2.3/32")
    return [
        Pod(1, netns.path, (ip("192.0.2.1"), ip("2001:db8::1"))),
        Pod(2, netns.path, (ip("192.0.2.2"),)),
        Pod(3, netns.path, (ip("192.0.2.3"),)),
    ]


@pytest.mark.root
async def test_each_pair_of_a_family_that_both_have_is_asked(pods: list[Pod]) -> None:
    async with asyncio.timeout(5):
        matrix = await ping_all(pods[:2], timeout=60)
    assert [tuple(result.pair) for result in matrix.results] == [
        (1, 2, Family.IPV4),
        (2, 1, Family.IPV4),
    ]
    assert matrix.complete
    assert [result.sent for result in matrix.results] == [1, 1]


@pytest.mark.root
async def test_a_silent_pair_is_asked_again_and_harms_no_other(pods: list[Pod]) -> None:
    began = time.monotonic()
    matrix = await ping_all(pods, timeout=0.12, interval=0.02)
    assert time.monotonic() - began >= 0.12
    assert {(pair.source, pair.destination) for pair in matrix.silent} == {(1, 3), (2, 3)}
    for found in matrix.results:
        if found.pair.destination == 3:
            assert found.sent > 1
            assert found.refusal
        else:
            assert (found.sent, found.refusal) == (1, None)


@pytest.mark.root
async def test_a_packet_is_as_long_as_asked_for_with_its_headers(netns: Namespace) -> None:
    netns.ip("address add 192.0.2.1/32 dev lo")
    netns.ip("address add 2001:db8::1/128 dev lo nodad")
    netns.ip("link set lo mtu 1300")
    netns.ip("address add 192.0.2.2/32 dev lo")
    netns.ip("address add 2001:db8::2/128 dev lo nodad")
    pods = [Pod(n, netns.path, (ip(f"192.0.2.{n}"), ip(f"2001:db8::{n}"))) for n in (1, 2)]
    assert (await ping_all(pods, packet_bytes=1300)).complete
    too_long = await ping_all(pods, packet_bytes=1301, timeout=0.05)
    assert {result.refusal for result in too_long.results} == {"Message too long"}
    assert len(too_long.silent) == 4
