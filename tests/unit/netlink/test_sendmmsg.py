"""Many datagrams in one call: all there, in order, cut where asked, and failures told."""

import errno
import socket
from collections.abc import Iterator

import pytest

from flannel_sdk.netlink import sendmmsg
from flannel_sdk.netlink.sendmmsg import send_all

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["sendmmsg", "without it"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "sendmmsg":
        monkeypatch.setattr(sendmmsg, "_sendmmsg", None)


@pytest.fixture
def pair(way: None) -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(5)
        theirs.settimeout(5)
        yield ours, theirs


def test_datagrams_of_these_lengths_in_order(pair: Pair) -> None:
    send_all(pair[0], bytearray(b"abbccc"), [1, 2, 3])
    assert [pair[1].recv(100) for _ in range(3)] == [b"a", b"bb", b"ccc"]


def test_nothing_to_send_sends_nothing(pair: Pair) -> None:
    send_all(pair[0], bytearray(b"x"), [])
    pair[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        pair[1].recv(1)


def test_the_bytes_may_be_changed_afterwards(pair: Pair) -> None:
    """A bytearray whose memory is still lent out cannot grow."""
    data = bytearray(b"ab")
    send_all(pair[0], data, [1, 1])
    data.extend(b"c" * 100)


def test_a_receiver_that_went_away_is_an_error(pair: Pair) -> None:
    pair[1].close()
    with pytest.raises(BrokenPipeError) as caught:
        send_all(pair[0], bytearray(b"ab"), [1, 1])
    assert caught.value.errno == errno.EPIPE


def test_more_than_one_call_takes(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sendmmsg, "_MOST", 4)
    send_all(pair[0], bytearray(range(11)), [1] * 11)
    assert [pair[1].recv(10)[0] for _ in range(11)] == list(range(11))


def test_a_failure_after_a_part_was_sent_is_told(pair: Pair) -> None:
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    pair[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        send_all(pair[0], bytearray(3000 * 100), [3000] * 100)
    assert pair[1].recv(4000) == bytes(3000)
