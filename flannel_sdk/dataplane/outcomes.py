"""What became of the rows that were sent: counts, and failures kept with their objects."""

import errno
import logging
from collections.abc import Callable, Iterable, Mapping

from flannel_sdk.dataplane.backoff import Backoff
from flannel_sdk.dataplane.describe import subject
from flannel_sdk.dataplane.desired import FdbKey, Key, NeighbourKey, RouteKey
from flannel_sdk.dataplane.lowering import Lowering
from flannel_sdk.dataplane.notices import NoticeSorter
from flannel_sdk.dataplane.pipeline import Pipeline
from flannel_sdk.dataplane.refusals import refusal
from flannel_sdk.dataplane.requests import (
    AddressOperation,
    Failure,
    FdbOperation,
    NeighbourOperation,
)

logger = logging.getLogger(__name__)
STALE = RouteKey(b"", 0)
"""Stands for all that could not be removed, or was meant for a device that is gone: only a
comparison finds it again."""


class Outcomes:
    """Counts and failures of one reconciler."""

    def __init__(
        self, lowering: Lowering, notices: NoticeSorter, clock: Callable[[], float]
    ) -> None:
        self._lowering = lowering
        self._notices = notices
        self.failed: Backoff[Key] = Backoff(clock)
        self.written = 0
        self.repaired: dict[str, int] = {}

    def count(self, numbers: Mapping[str, int]) -> None:
        """Count repairs by kind."""
        for kind, number in numbers.items():
            self.repaired[kind] = self.repaired.get(kind, 0) + number

    async def settle(self, pipeline: Pipeline, attempted: Iterable[Key] = ()) -> None:
        """Wait for the answers; keep each failure with its object for a later try.

        Those of ``attempted`` that did not fail are forgotten. PrivilegeError if that is why.
        """
        failures = await pipeline.drain()
        self.written += pipeline.written
        failed: set[Key] = set()
        news: dict[str, list[str]] = {}
        names = {index: name for name, index in self._lowering.indexes.items()}
        for failure in failures:
            if failure.errno == errno.EPERM:
                raise refusal("change the data plane", failure.errno, failure.reason)
            key = self._blame(failure, names)
            if key in failed:
                continue
            failed.add(key)
            if self.failed.failed(key, failure.reason):
                text = subject(failure.operation, failure.row, names)
                news.setdefault(failure.reason, []).append(f"{failure.operation.kind} {text}")
        if failed:
            self._notices.wake.set()  # run() sleeps until the deadlines that it knew
        for key in attempted:
            if key not in failed:
                self.failed.succeeded(key)
        for reason, subjects in news.items():
            logger.warning(
                "the kernel refused %d objects, to be tried again: %s; the first is %s",
                len(subjects), reason, subjects[0],
            )  # fmt: skip

    def _blame(self, failure: Failure, names: Mapping[int, str]) -> Key:
        """The key of the object behind a failed row."""
        operation = failure.operation
        if operation.verb == "remove" or isinstance(operation, AddressOperation):
            return STALE
        if isinstance(operation, NeighbourOperation | FdbOperation):
            device, address = names.get(operation.ifindex), operation.rows[failure.row][0]
            if device is None:
                return STALE  # it was remade meanwhile
            if isinstance(operation, FdbOperation):
                return FdbKey(device, address)
            return NeighbourKey(device, address)
        address, length = operation.rows[failure.row][0][:2]
        return RouteKey(address, length)
