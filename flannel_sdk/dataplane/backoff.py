"""When to try again: each key with a delay of its own, doubling and jittered."""

import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Entry:
    attempts: int
    due: float
    reason: str
    since: float
    """When it failed first."""


class Backoff(Generic[K]):
    """Keys to try again, with the reason why they failed."""

    def __init__(
        self, clock: Callable[[], float], *, first: float = 0.1, longest: float = 30.0
    ) -> None:
        self._clock = clock
        self._first = first
        self._longest = longest
        self.entries: dict[K, _Entry] = {}

    def failed(self, key: K, reason: str) -> bool:
        """Note a failure; True if it is this key's first, or has another reason."""
        entry = self.entries.get(key)
        attempts = entry.attempts if entry else 0
        delay = min(self._first * 2**attempts, self._longest) * random.uniform(0.75, 1.25)
        now = self._clock()
        since = entry.since if entry else now
        self.entries[key] = _Entry(min(attempts + 1, 20), now + delay, reason, since)
        return entry is None or entry.reason != reason

    def succeeded(self, key: K) -> None:
        """Forget a key."""
        self.entries.pop(key, None)

    def due(self) -> list[K]:
        """The keys whose time has come."""
        now = self._clock()
        return [key for key, entry in self.entries.items() if entry.due <= now]

    def hasten(self) -> None:
        """Make all due now: what they failed for may have changed."""
        now = self._clock()
        for entry in self.entries.values():
            entry.due = min(entry.due, now)

    def next(self) -> float | None:
        """Time of the earliest, None if there is none."""
        return min((entry.due for entry in self.entries.values()), default=None)

    def reasons(self) -> dict[str, int]:
        """How many keys failed for each reason."""
        counts: dict[str, int] = {}
        for entry in self.entries.values():
            counts[entry.reason] = counts.get(entry.reason, 0) + 1
        return counts
