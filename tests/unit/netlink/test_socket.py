"""The request socket on a real kernel: every failure of a batch by its number, and dumps."""

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from struct import pack

import pytest

from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.messages import Buffer, attribute, attributes, message, word
from flannel_sdk.netlink.socket import InterruptedDump, RequestSocket
from flannel_sdk.testing.namespaces import Namespace

pytestmark = pytest.mark.root
LOOPBACK = 1
NOWHERE = 4711


@pytest.fixture
def requests(netns: Namespace) -> Iterator[RequestSocket]:
    with closing(netns.call(RequestSocket)) as made:
        yield made


def address(sequence: int, number: int, index: int = LOOPBACK, *, add: bool = True) -> bytes:
    """Add or delete the address 10.x.y.z/32 with this number; an unknown index is refused."""
    kind, flags = (c.RTM_NEWADDR, c.NLM_F_CREATE | c.NLM_F_EXCL) if add else (c.RTM_DELADDR, 0)
    packed = (0x0A000000 + number).to_bytes(4, "big")
    body = pack("=BBBBI", socket.AF_INET, 32, 0, 0, index)
    body += attribute(c.IFA_LOCAL, packed) + attribute(c.IFA_ADDRESS, packed)
    return message(kind, c.NLM_F_REQUEST | flags, sequence, body)


def send(requests: RequestSocket, batch: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Send (number, index) rows; gives the position and the errno of each that was refused."""
    first = requests.reserve(len(batch))
    rows = [address(first + at, *row) for at, row in enumerate(batch)]
    answers = requests.send(rows, first)
    found = {answer.sequence - first: answer.errno for answer in answers}
    assert len(found) == len(answers)
    return found


class Addresses:
    """Takes a dump of addresses."""

    kind = c.RTM_NEWADDR

    def __init__(self) -> None:
        self.found: list[bytes] = []

    def fast(self, buffer: Buffer, offset: int, end: int, /) -> int:
        return offset

    def slow(self, buffer: Buffer, offset: int, end: int, /) -> None:
        self.found.append(attributes(buffer, offset + 24, end)[c.IFA_ADDRESS])


def dump(
    requests: RequestSocket, family: int = socket.AF_INET, kind: int = c.RTM_GETADDR
) -> list[bytes]:
    sequence = requests.reserve(1)
    body = pack("=BBBBI", family, 0, 0, 0, 0)
    parser = Addresses()
    flags = c.NLM_F_REQUEST | c.NLM_F_DUMP
    requests.ask(message(kind, flags, sequence, body), sequence, parser)
    return parser.found


def present(requests: RequestSocket) -> set[int]:
    return {int.from_bytes(found, "big") - 0x0A000000 for found in dump(requests)} & {*range(9999)}


@pytest.mark.parametrize("bad", [(), (0,), (4,), (1, 2), (0, 1, 2, 3, 4)], ids=str)
def test_of_a_batch_just_the_refused_are_told(
    requests: RequestSocket, bad: tuple[int, ...]
) -> None:
    """Also the last, which alone asks for an acknowledgement."""
    batch = [(n, NOWHERE if n in bad else LOOPBACK) for n in range(5)]
    assert send(requests, batch) == dict.fromkeys(bad, errno.ENODEV)
    assert present(requests) == {n for n in range(5) if n not in bad}


def test_each_failure_has_its_own_reason(requests: RequestSocket) -> None:
    assert send(requests, [(7, LOOPBACK), (7, LOOPBACK), (8, NOWHERE), (9, LOOPBACK)]) == {
        1: errno.EEXIST,
        2: errno.ENODEV,
    }
    first = requests.reserve(1)
    (answer,) = requests.send([address(first, 1, add=False)], first)
    assert (answer.sequence, answer.errno) == (first, errno.EADDRNOTAVAIL)
    assert answer.reason.endswith("(EADDRNOTAVAIL)")


def test_all_failures_of_many_batches_find_room(requests: RequestSocket) -> None:
    requests.batch = min(requests.batch, 300)
    assert send(requests, [(n, NOWHERE) for n in range(1000)]) == dict.fromkeys(
        range(1000), errno.ENODEV
    )


def test_a_batch_of_the_full_size_that_fails_altogether_is_accounted_for(
    requests: RequestSocket,
) -> None:
    count = requests.batch + 1
    assert len(send(requests, [(n % 2, NOWHERE) for n in range(count)])) == count
    assert present(requests) == set()


def test_nothing_to_send_is_no_question(requests: RequestSocket) -> None:
    assert requests.send([], requests.reserve(0)) == []


def test_what_is_sent_is_not_changed_for_the_caller(requests: RequestSocket) -> None:
    """The acknowledgement is asked for in a copy."""
    first = requests.reserve(1)
    row = address(first, 1)
    before = bytes(row)
    requests.send([row], first)
    assert row == before


def test_numbers_are_never_given_twice_and_wrap_before_the_end(requests: RequestSocket) -> None:
    first = requests.reserve(10)
    assert requests.reserve(1) == first + 10
    requests._sequence = (1 << 32) - 5
    assert requests.reserve(10) == 1
    assert requests.reserve(1) == 11
    assert send(requests, [(1, NOWHERE)]) == {0: errno.ENODEV}


def test_a_dump_has_all_and_of_its_own_request_only(requests: RequestSocket) -> None:
    send(requests, [(n, LOOPBACK) for n in range(600)])
    requests._socket.send(address(requests.reserve(1), 3, NOWHERE))  # an answer nobody waits for
    assert present(requests) == set(range(600))


def test_a_question_that_the_kernel_refuses_is_its_error(requests: RequestSocket) -> None:
    with pytest.raises(OSError, match="not supported") as caught:
        dump(requests, kind=2000)
    assert caught.value.errno == errno.EOPNOTSUPP
    assert present(requests) == set()


def test_each_question_has_its_answer_and_the_refused_have_none(requests: RequestSocket) -> None:
    """More than go out at once: the positions are those of all."""
    count = 200
    first = requests.reserve(count)
    indexes = [LOOPBACK if n % 3 else NOWHERE for n in range(count)]
    questions = [
        message(c.RTM_GETLINK, c.NLM_F_REQUEST, first + n, pack("=BxHiII", 0, 0, index, 0, 0))
        for n, index in enumerate(indexes)
    ]
    taken: list[int] = []

    def take(position: int, buffer: Buffer, offset: int, end: int) -> None:
        assert attributes(buffer, offset + 32, end)[c.IFLA_IFNAME] == b"lo\0"
        taken.append(position)

    requests.ask_each(questions, first, take)
    assert taken == [n for n, index in enumerate(indexes) if index == LOOPBACK]


def test_an_interrupted_dump_is_told_after_it_was_read(requests: RequestSocket) -> None:
    """Played by a partner of ours, as no kernel can be made to do it on demand."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    requests._socket.close()
    requests._socket = ours
    row = message(c.RTM_NEWADDR, c.NLM_F_MULTI | c.NLM_F_DUMP_INTR, 1, bytes(8) + word(1, 5))
    done = message(c.NLMSG_DONE, c.NLM_F_MULTI, 1, bytes(4))
    with theirs:
        theirs.send(row + done)
        parser = Addresses()
        with pytest.raises(InterruptedDump):
            requests.ask(
                message(c.RTM_GETADDR, c.NLM_F_REQUEST | c.NLM_F_DUMP, 1, bytes(8)), 1, parser
            )
    assert len(parser.found) == 1


def test_answers_that_were_lost_are_not_taken_for_those_of_the_next_batch(
    requests: RequestSocket,
) -> None:
    requests._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # room for a few
    with pytest.raises(OSError, match="No buffer space"):
        requests.send([address(1 + n, n, NOWHERE) for n in range(500)], 1)
    assert requests.send([address(1 + n, n) for n in range(3)], 1) == []
