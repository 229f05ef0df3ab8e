"""What became of the rows that were sent: counts, and failures kept with their objects."""

import errno
import logging
from collections import Counter
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
        self._repaired: Counter[tuple[str, str]] = Counter()

    def count(self, cause: str, numbers: Mapping[str, int]) -> None:
        """Count repairs by kind. Causes: a ``notice`` of the change, an ``audit``, the ``node``."""
        for kind, number in numbers.items():
            self._repaired[cause, kind] += number

    def repaired(self) -> dict[str, int]:
        """How many repairs there were of each kind."""
        return _summed((kind, count) for (_, kind), count in self._repaired.items())

    def repaired_by_cause(self) -> dict[str, dict[str, int]]:
        """How many repairs there were of each kind, for each cause."""
        causes: dict[str, dict[str, int]] = {}
        for (cause, kind), count in self._repaired.items():
            causes.setdefault(cause, {})[kind] = count
        return causes

    def failed_kinds(self) -> dict[str, int]:
        """How many objects of each kind are refused now; ``stale`` for what cannot be removed."""
        return _summed(("stale" if key == STALE else key.kind, 1) for key in self.failed.entries)

    def refused_since(self) -> float | None:
        """Since when the wanted object that is refused longest has been; None without one."""
        entries = self.failed.entries.items()
        return min((entry.since for key, entry in entries if key != STALE), default=None)

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


def _summed(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for name, count in counts:
        total[name] += count
    return dict(total)
