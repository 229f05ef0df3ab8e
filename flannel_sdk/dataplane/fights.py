"""Rate limit for repairs: at once at first, ever later where somebody keeps undoing them."""

from collections.abc import Callable, Iterable

from flannel_sdk.dataplane.desired import Key

_CALM = 10.0
_FREE = 3
_FIRST = 0.1
_LONGEST = 5.0
_SETTLED = 1.0
"""Seconds after a repair that nobody has undone: the fight is over, or pauses."""


class Fights:
    """How often each key was repaired of late."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._history: dict[Key, tuple[int, float]] = {}
        self.later: dict[Key, float] = {}
        """Keys that have to wait, with the time when they may be repaired."""
        self.suppressed = 0
        """Repairs that were put off."""
        self._contested: dict[Key, float] = {}
        """Since when each key has been fought over."""

    def admit(self, keys: Iterable[Key]) -> list[Key]:
        """The keys that may be repaired now, counted as repaired; others are put off."""
        now = self._clock()
        admitted = []
        for key in keys:
            count, last = self._history.get(key, (0, now))
            if now - last > _CALM + _LONGEST:
                count = 0
                self._contested.pop(key, None)
            if count >= _FREE:
                due = last + min(_FIRST * 2 ** (count - _FREE), _LONGEST)
                if due > now:
                    if key not in self.later:
                        self.suppressed += 1
                        self._contested.setdefault(key, now)
                    self.later[key] = due
                    continue
            self._history[key] = (min(count + 1, 20), now)
            self.later.pop(key, None)
            admitted.append(key)
        return admitted

    def due(self) -> list[Key]:
        """Keys that were put off and whose time has come."""
        now = self._clock()
        return [key for key, time in self.later.items() if time <= now]

    def next(self) -> float | None:
        """Time of the earliest that was put off, None if there is none."""
        return min(self.later.values(), default=None)

    def forget_old(self) -> None:
        """Drop the history of keys that have been calm."""
        now = self._clock()
        self._history = {
            key: entry for key, entry in self._history.items() if now - entry[1] <= _CALM + _LONGEST
        }
        self._contested = {
            key: since for key, since in self._contested.items() if key in self._history
        }

    def contested_since(self) -> float | None:
        """Since when the key that is fought over longest has been; None without a fight now."""
        now = self._clock()
        return min(
            (
                since
                for key, since in self._contested.items()
                if key in self.later or now - self._history[key][1] <= _SETTLED
            ),
            default=None,
        )
