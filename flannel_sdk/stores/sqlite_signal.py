"""How the watches of one manager hear of changes that any process made to the store file.

A writer touches the file after its commit: that event is the signal. Writes into the log file come
before a commit can be seen, and from writers that do not touch (a killed one, other programs): they
lead to a few looks later on. Nothing runs while nobody writes.
"""

import asyncio
import logging

from flannel_sdk.errors import StoreUnavailable
from flannel_sdk.stores.inotify import GONE, MODIFIED, TOUCHED, FileWatch
from flannel_sdk.stores.wakeups import EventWakeups

log = logging.getLogger(__name__)

_LATER = (0.25, 1.0, 5.0, 20.0)
"""Seconds from a write into the log to the first look it leads to, and from each to the next: a
commit can be seen only once the writer's disk has synced the log, which may take its time."""
_POLL = 1.0
"""Seconds between looks where the kernel gives no inotify instance."""


class ChangeSignal:
    """One inotify instance for all watches of a manager; open only while there are any."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._watches: set[EventWakeups] = set()
        self._files: FileWatch | None = None
        self._generation = -1
        self._later: asyncio.TimerHandle | None = None
        self._looks = 0
        """How many looks the last write into the log has led to."""

    def subscribe(self, generation: int) -> EventWakeups:
        """Wake-ups until they are closed; a new ``generation`` means that the file is new."""
        watch = EventWakeups(self._unsubscribe)
        self._watches.add(watch)
        try:
            self._listen(generation)
        except BaseException:
            watch.close()
            raise
        return watch

    def wake_all(self) -> None:
        """Wake every watch now."""
        self._cancel_look()
        for watch in self._watches:
            watch.wake()
        if self._watches and self._files is None:
            self._look_after(_POLL)

    def _unsubscribe(self, watch: EventWakeups) -> None:
        self._watches.discard(watch)
        if not self._watches:
            self._stop()

    def _listen(self, generation: int) -> None:
        if generation == self._generation:
            return
        try:
            if self._files is None:
                self._files = FileWatch(self._changed)
            self._files.add(self._path, TOUCHED | GONE)
            self._files.add(f"{self._path}-wal", MODIFIED)
        except FileNotFoundError as error:
            raise StoreUnavailable(f"The store file {self._path} was deleted.") from error
        except OSError as error:
            log.warning("%s is polled, for want of an inotify instance: %s", self._path, error)
            if self._files is not None:
                self._files.close()
                self._files = None
            self._look_after(_POLL)
        self._generation = generation

    def _changed(self, path: str, mask: int) -> None:
        if path == self._path:
            self.wake_all()
        elif self._later is None or self._looks:
            self._looks = 0
            self._look_after(_LATER[0])

    def _look_after(self, seconds: float) -> None:
        self._cancel_look()
        self._later = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._later = None
        self.wake_all()
        self._looks += 1
        if self._files is not None and self._looks < len(_LATER):
            self._look_after(_LATER[self._looks])

    def _cancel_look(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _stop(self) -> None:
        self._cancel_look()
        if self._files is not None:
            self._files.close()
            self._files = None
        self._generation = -1
