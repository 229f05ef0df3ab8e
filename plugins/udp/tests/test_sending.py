"""Sending where the underlay refuses: to cut datagrams, to carry big ones, to carry any."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest
from flannel_sdk_udp.datapath import Counter
from flannel_sdk_udp.userspace.counting import no_counts
from flannel_sdk_udp.userspace.sending import Sender

from plugins.udp.tests.test_threads_work import counted


class Refusing(socket.socket):
    """A UDP socket whose calls are refused with an errno, those in one call and single ones."""

    def __init__(self, *, together: int = 0, bigger_than: int = 65535, single: int = 0) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.together, self.single, self.bigger_than = together, single, bigger_than
        self.asked_together = 0
        self.fragmenting = False

    def sendmsg(self, *arguments: object) -> int:
        self.asked_together += 1
        if self.together:
            raise OSError(self.together, os.strerror(self.together))
        return super().sendmsg(*arguments)  # type: ignore[arg-type]  # passed on

    def sendto(self, data: memoryview, address: tuple[str, int]) -> int:  # type: ignore[override]  # as above
        number = self.single
        if len(data) > self.bigger_than and not self.fragmenting:
            number = errno.EMSGSIZE
        if number:
            raise OSError(number, os.strerror(number))
        return super().sendto(data, address)

    def setsockopt(self, *arguments: object) -> None:
        self.fragmenting = arguments == (socket.IPPROTO_IP, 10, 0)


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def sender(sock: socket.socket, *, told: bool = True) -> tuple[Sender, list[int]]:
    counts = no_counts()
    return Sender(sock, counts, lambda packet, mtu: told), counts


@pytest.mark.parametrize(
    ("number", "asked"),
    [(errno.EIO, 1), (errno.EOPNOTSUPP, 1), (errno.EINVAL, 3), (errno.EMSGSIZE, 3)],
)
def test_what_cannot_leave_together_leaves_one_by_one(
    peer: socket.socket, number: int, asked: int
) -> None:
    """Refused for good after EIO; the other answers may be about these datagrams alone."""
    with Refusing(together=number) as refusing:
        sending, counts = sender(refusing)
        for _ in range(3):
            sending.send_contiguous(memoryview(b"aabbc"), 2, peer.getsockname())
            assert [peer.recv(10) for _ in range(3)] == [b"aa", b"bb", b"c"]
        assert refusing.asked_together == asked
        views = [memoryview(part) for part in (b"h1", b"one", b"h2", b"two", b"h3", b"3")]
        sending.send_run(views, 5, 2, peer.getsockname())
        assert [peer.recv(10) for _ in range(3)] == [b"h1one", b"h2two", b"h33"]
    assert counted(counts) == {"SENT_PACKETS": 12, "SENT_BYTES": 28}


def test_no_more_leaves_in_one_call_than_a_kernel_takes(peer: socket.socket) -> None:
    with Refusing() as willing:
        sending, counts = sender(willing)
        views = [memoryview(bytes([n])) for n in range(130)]
        sending.send_run(views, 1, 1, peer.getsockname())
        assert [peer.recv(10) for _ in range(130)] == [bytes([n]) for n in range(130)]
        assert willing.asked_together == 3
    assert counts[Counter.SENT_PACKETS] == 130


def test_a_packet_too_big_is_told_or_goes_in_fragments(peer: socket.socket) -> None:
    with Refusing(bigger_than=3) as narrow:
        sending, counts = sender(narrow)
        sending.send(memoryview(b"12345"), peer.getsockname())
        assert counted(counts) == {"DROPPED_TOO_BIG": 1}
        sending, counts = sender(narrow, told=False)
        sending.send(memoryview(b"12345"), peer.getsockname())
        assert peer.recv(10) == b"12345"
        assert not narrow.fragmenting
        assert counted(counts) == {"SENT_PACKETS": 1, "SENT_BYTES": 5}


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.ENOBUFS, errno.EPERM])
def test_what_the_underlay_refuses_is_counted(peer: socket.socket, number: int) -> None:
    with Refusing(single=number) as refusing:
        sending, counts = sender(refusing)
        sending.send(memoryview(b"1"), peer.getsockname())
        assert counted(counts) == {"DROPPED_SEND_FAILED": 1}
