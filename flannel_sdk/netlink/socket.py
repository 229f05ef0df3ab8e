"""A netlink socket for requests: batches whose every failure is accounted for, and dumps."""

import errno
import socket
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, Protocol

from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.messages import HEADER, Answer, Buffer, describe, parse_answer
from flannel_sdk.netlink.sendmmsg import send_all

_BUFFER: Final = 8 << 20
_ANSWER_SIZE: Final = 2048
_QUESTIONS: Final = 64
"""Requests with an answer each that go out at once: all answers find room."""
_DATAGRAM: Final = 256
"""Messages; more in one datagram make the kernel slower, fewer too."""
_FLAGS: Final = Struct("=H")


class InterruptedDump(Exception):
    """A table changed under every one of several dumps of it."""


class DumpParser(Protocol):
    """Takes the messages of a dump out of a receive buffer."""

    kind: int

    def fast(self, buffer: Buffer, offset: int, end: int, /) -> int:
        """Read messages of the usual layout; returns where the first unusual one starts."""
        ...

    def slow(self, buffer: Buffer, offset: int, end: int, /) -> None:
        """Read one message of any layout."""
        ...


def grow(sock: socket.socket, size: int = _BUFFER) -> None:
    """Ask for large buffers; as large as is allowed where we may not force them."""
    for force, plain in (
        (c.SO_SNDBUFFORCE, socket.SO_SNDBUF),
        (c.SO_RCVBUFFORCE, socket.SO_RCVBUF),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, size)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, plain, size)


class RequestSocket:
    """One request socket; blocking, for one thread."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        """``protocol``: the kernel's NETLINK_ number of the subsystem that is talked to."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        try:
            grow(self._socket)
            self._socket.setsockopt(c.SOL_NETLINK, c.NETLINK_CAP_ACK, 1)
            self._socket.setsockopt(c.SOL_NETLINK, c.NETLINK_EXT_ACK, 1)
            self._socket.setsockopt(c.SOL_NETLINK, c.NETLINK_GET_STRICT_CHK, 1)
            self._socket.bind((0, 0))
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[0]
        room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.batch = max(1, min(8192, room // _ANSWER_SIZE))
        """Messages that may go out at once so that, if all fail, all answers find room."""
        self._buffer = bytearray(1 << 18)
        self._view = memoryview(self._buffer)
        self._sequence = 1

    def close(self) -> None:
        """Free the descriptor."""
        self._socket.close()

    def reserve(self, count: int) -> int:
        """The first of ``count`` sequence numbers in a row."""
        first = self._sequence
        if first + count >= 1 << 32:
            first = 1
        self._sequence = first + count
        return first

    def send(self, messages: Sequence[bytes], first: int) -> list[Answer]:
        """Send messages numbered in a row from ``first``; returns the answers of those refused."""
        refused: list[Answer] = []
        for start in range(0, len(messages), self.batch):
            batch = messages[start : start + self.batch]
            data = bytearray().join(batch)
            at = len(data) - len(batch[-1]) + 6
            flags = _FLAGS.unpack_from(data, at)[0]
            _FLAGS.pack_into(data, at, flags | c.NLM_F_ACK)
            lengths = [
                sum(map(len, batch[part : part + _DATAGRAM]))
                for part in range(0, len(batch), _DATAGRAM)
            ]
            try:
                send_all(self._socket, data, lengths)
                self._collect(first + start + len(batch) - 1, refused)
            except OSError:
                self._discard()
                raise
        return refused

    def send_datagrams(self, datagrams: Sequence[bytes], last: int) -> list[Answer]:
        """Send them as they are; returns the answers of the messages refused.

        ``last`` is the number of the last message, which has to ask for an acknowledgement.
        """
        refused: list[Answer] = []
        for datagram in datagrams:
            self._socket.send(datagram)
        self._collect(last, refused)
        return refused

    def _discard(self) -> None:
        """Read what is left of a batch that broke off: the next may use the same numbers."""
        lost = True
        while lost:
            lost = False
            try:
                while self._socket.recv_into(self._buffer, 0, socket.MSG_DONTWAIT):
                    pass
            except OSError as error:
                lost = error.errno == errno.ENOBUFS

    def _collect(self, last: int, refused: list[Answer]) -> None:
        while True:
            end = self._socket.recv_into(self._buffer)
            offset = 0
            while offset + 16 <= end:
                length, kind, flags, sequence, _ = HEADER.unpack_from(self._buffer, offset)
                if kind == c.NLMSG_ERROR:
                    answer = parse_answer(self._buffer, offset, offset + length, flags, sequence)
                    if answer.errno:
                        refused.append(answer)
                    if sequence == last:
                        return
                offset += length + 3 & ~3

    def ask_each(
        self, requests: Sequence[bytes], first: int, take: Callable[[int, Buffer, int, int], None]
    ) -> None:
        """Send requests that have one answer each; ``take`` gets the position and the message.

        Those that are refused have none.
        """
        for start in range(0, len(requests), _QUESTIONS):
            batch = requests[start : start + _QUESTIONS]
            self._socket.send(b"".join(batch))
            missing = len(batch)
            while missing:
                end = self._socket.recv_into(self._buffer)
                offset = 0
                while offset + 16 <= end:
                    length, kind, _, sequence, _ = HEADER.unpack_from(self._buffer, offset)
                    position = sequence - first
                    if start <= position < start + len(batch):
                        missing -= 1
                        if kind != c.NLMSG_ERROR:
                            take(position, self._buffer, offset, offset + length)
                    offset += max(length, 16) + 3 & ~3

    def ask(self, request: bytes, sequence: int, parser: DumpParser) -> None:
        """Send one request and parse its answers; OSError with the kernel's reason if refused."""
        self._socket.send(request)
        dump = HEADER.unpack_from(request)[2] & c.NLM_F_DUMP == c.NLM_F_DUMP
        interrupted = False
        done = False
        while not done:
            end = self._socket.recv_into(self._buffer)
            offset = parser.fast(self._buffer, 0, end)
            while offset + 16 <= end:
                length, kind, flags, got, _ = HEADER.unpack_from(self._buffer, offset)
                if got == sequence:
                    interrupted |= bool(flags & c.NLM_F_DUMP_INTR)
                    if kind == parser.kind:
                        parser.slow(self._buffer, offset, offset + length)
                        done = not dump
                    elif kind in (c.NLMSG_DONE, c.NLMSG_ERROR):
                        done = True
                        _raise(self._buffer, offset, offset + length, flags, kind)
                offset += max(length, 16) + 3 & ~3
                offset = parser.fast(self._buffer, offset, end)
        if interrupted:
            raise InterruptedDump("the kernel's table changed while it was read")


def _raise(buffer: Buffer, offset: int, end: int, flags: int, kind: int) -> None:
    if kind == c.NLMSG_DONE:
        code = int.from_bytes(buffer[offset + 16 : offset + 20], "little", signed=True)
        if code < 0:
            raise OSError(-code, describe(-code))
        return
    answer = parse_answer(buffer, offset, end, flags, 0)
    raise OSError(answer.errno or errno.EPROTO, answer.reason or "unexpected acknowledgement")
