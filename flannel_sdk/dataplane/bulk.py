"""Bulk writes: not listening meanwhile to the notices that they cause themselves."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flannel_sdk.dataplane.notices import NoticeSorter
from flannel_sdk.dataplane.protocol import Kernel
from flannel_sdk.dataplane.requests import FdbOperation, Operation

_BULK = 256
"""Forwarding entries; each causes a notice that says not whose request it was."""


class Deafness:
    """Leaves the group of neighbour notices, and has entries compared after coming back."""

    def __init__(self, kernel: Kernel, notices: NoticeSorter) -> None:
        self._kernel = kernel
        self._notices = notices
        self._deaf = False

    def expect(self, operations: Sequence[Operation]) -> None:
        """Stop listening if these are many."""
        entries = sum(len(o.rows) for o in operations if isinstance(o, FdbOperation))
        if entries >= _BULK and not self._deaf:
            self._deaf = True
            self._kernel.listen_for_neighbours(False)

    def end(self) -> None:
        """Listen again; what others did meanwhile is found by a comparison."""
        if self._deaf:
            self._deaf = False
            self._kernel.listen_for_neighbours(True)
            self._notices.entries = True
            self._notices.wake.set()


@contextmanager
def deafness(kernel: Kernel, notices: NoticeSorter) -> Iterator[Deafness]:
    """For the time of one bulk write."""
    state = Deafness(kernel, notices)
    try:
        yield state
    finally:
        state.end()
