"""Bulk writes: not listening meanwhile to the notices that they cause themselves."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flannel_sdk.dataplane.notices import NoticeSorter
from flannel_sdk.dataplane.protocol import Kernel
from flannel_sdk.dataplane.requests import Operation

_BULK = 256
"""Rows. Measured: the kernel takes 2.5 us for one, and 3.5 us where it has to report it."""


class Deafness:
    """Leaves the groups of our kinds of objects, and has all compared after coming back."""

    def __init__(self, kernel: Kernel, notices: NoticeSorter) -> None:
        self._kernel = kernel
        self._notices = notices
        self._deaf = False
        self.used = False
        """True once it stopped listening."""

    def expect(self, operations: Sequence[Operation]) -> None:
        """Stop listening if these are many."""
        if sum(len(operation.rows) for operation in operations) >= _BULK:
            self.begin()

    def begin(self) -> None:
        """Stop listening, and leave unread what has been heard and not yet looked at."""
        if not self._deaf:
            self._deaf = self.used = True
            self._kernel.listen_for_objects(False)

    def end(self) -> None:
        """Listen again; what others did meanwhile is found by a comparison."""
        if self._deaf:
            self._deaf = False
            self._kernel.listen_for_objects(True)
            self._notices.unheard = True
            self._notices.underlay.set()
            self._notices.wake.set()


@contextmanager
def deafness(kernel: Kernel, notices: NoticeSorter) -> Iterator[Deafness]:
    """For the time of one bulk write."""
    state = Deafness(kernel, notices)
    try:
        yield state
    finally:
        state.end()
