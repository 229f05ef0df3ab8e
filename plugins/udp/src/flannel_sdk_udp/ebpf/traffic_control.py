"""Our filters among those of others: clsact is shared; priority, handle and name are ours.

Filters of one hook run in the order of their priorities. Ours let all that is not theirs go on to
the next; what filters before ours decide, ours never sees (linux/pkt_cls.h, linux/pkt_sched.h).
"""

import errno
import socket
from struct import Struct
from typing import Final, NamedTuple

from flannel_sdk.netlink.constants import NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST
from flannel_sdk.netlink.messages import Buffer, attribute, attributes, message, number, word
from flannel_sdk.netlink.socket import RequestSocket

INGRESS: Final = 0xFFFFFFF2
EGRESS: Final = 0xFFFFFFF3
PRIORITY: Final = 8285
"""Of our filters: behind the low numbers that people and other software take first."""

_CLSACT: Final = 0xFFFFFFF1
_CLSACT_HANDLE: Final = 0xFFFF0000
_NEW_QDISC, _GET_QDISC = 36, 38
_NEW_FILTER, _DELETE_FILTER, _GET_FILTER = 44, 45, 46
_KIND, _OPTIONS = 1, 2
_BPF_DESCRIPTOR, _BPF_NAME, _BPF_FLAGS, _BPF_ID = 6, 7, 8, 11
_DIRECT_ACTION: Final = 1
_HEAD: Final = Struct("=B3xiIII")
"""tcmsg: family, interface, handle, parent, info."""
_NONE_THERE: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP})
"""EOPNOTSUPP: the kernel was built without traffic control."""
_EVERY_PROTOCOL: Final = 3
_IPV4: Final = 0x0800


class Filter(NamedTuple):
    """One BPF filter of our priority."""

    ifindex: int
    hook: int
    """INGRESS or EGRESS."""
    handle: int
    name: str
    program: int
    """Its program's id; 0 in one that is to be made."""


class _Rows:
    """Takes the messages of one dump."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.rows: list[tuple[int, int, int, int, dict[int, bytes]]] = []
        """Interface, handle, parent, info, attributes."""

    def fast(self, _: Buffer, offset: int, __: int, /) -> int:
        """Nothing is read fast here."""
        return offset

    def slow(self, buffer: Buffer, offset: int, end: int, /) -> None:
        """As ``DumpParser.slow``."""
        _, ifindex, handle, parent, info = _HEAD.unpack_from(buffer, offset + 16)
        self.rows.append((ifindex, handle, parent, info, attributes(buffer, offset + 36, end)))


class TrafficControl:
    """The filters of the calling thread's network namespace; blocking, for one thread."""

    def __init__(self) -> None:
        self._socket = RequestSocket()

    def __enter__(self) -> "TrafficControl":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def share_clsact(self, ifindex: int) -> None:
        """See that filters can be put on an interface; OSError if the kernel has no clsact."""
        body = _HEAD.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT, 0) + attribute(_KIND, b"clsact\0")
        try:
            self._do(_NEW_QDISC, NLM_F_CREATE | NLM_F_EXCL, body)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise

    def put(self, wanted: Filter, descriptor: int) -> None:
        """Add a filter, or replace its program in one step; no packet meets none or both."""
        protocol = _IPV4 if wanted.hook == INGRESS else _EVERY_PROTOCOL
        options = (
            word(_BPF_DESCRIPTOR, descriptor)
            + attribute(_BPF_NAME, wanted.name.encode() + b"\0")
            + word(_BPF_FLAGS, _DIRECT_ACTION)
        )
        body = (
            _HEAD.pack(0, wanted.ifindex, wanted.handle, wanted.hook, _info(protocol))
            + attribute(_KIND, b"bpf\0")
            + attribute(_OPTIONS, options)
        )
        self._do(_NEW_FILTER, NLM_F_CREATE, body)

    def delete(self, unwanted: Filter) -> None:
        """Remove one filter; fine if it or its interface is gone."""
        protocol = _IPV4 if unwanted.hook == INGRESS else _EVERY_PROTOCOL
        body = _HEAD.pack(0, unwanted.ifindex, unwanted.handle, unwanted.hook, _info(protocol))
        try:
            self._do(_DELETE_FILTER, 0, body + attribute(_KIND, b"bpf\0"))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
                raise

    def filters(self, name: str) -> list[Filter]:
        """All filters of ours with this name, on whatever interface."""
        qdiscs = self._dump(_GET_QDISC, _HEAD.pack(0, 0, 0, 0, 0), _NEW_QDISC)
        shared = sorted({row[0] for row in qdiscs if row[1] == _CLSACT_HANDLE})
        return [
            found
            for ifindex in shared
            for hook in (INGRESS, EGRESS)
            for found in self._filters_on(ifindex, hook)
            if found.name == name
        ]

    def _filters_on(self, ifindex: int, hook: int) -> list[Filter]:
        head = _HEAD.pack(0, ifindex, 0, hook, PRIORITY << 16)
        found = []
        for row in self._dump(_GET_FILTER, head, _NEW_FILTER):
            options = row[4].get(_OPTIONS, b"")
            inner = attributes(options, 0, len(options))
            if row[3] >> 16 == PRIORITY and row[1] and row[4].get(_KIND) == b"bpf\0":
                name = inner.get(_BPF_NAME, b"").rstrip(b"\0").decode(errors="replace")
                found.append(Filter(ifindex, hook, row[1], name, number(inner.get(_BPF_ID))))
        return found

    def _dump(
        self, kind: int, body: bytes, answer: int
    ) -> list[tuple[int, int, int, int, dict[int, bytes]]]:
        sequence = self._socket.reserve(1)
        rows = _Rows(answer)
        try:
            self._socket.ask(
                message(kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, body), sequence, rows
            )
        except OSError as error:
            if error.errno not in _NONE_THERE:
                raise
        return rows.rows

    def _do(self, kind: int, flags: int, body: bytes) -> None:
        sequence = self._socket.reserve(1)
        request = message(kind, NLM_F_REQUEST | flags, sequence, body)
        for refused in self._socket.send([request], sequence):
            raise OSError(refused.errno, refused.reason)


def _info(protocol: int) -> int:
    return PRIORITY << 16 | socket.htons(protocol)
