"""A forwarding thread: waits for its descriptor, works, and ends when told."""

import logging
import os
import select
import threading
from collections.abc import Callable
from typing import Protocol

from flannel_sdk.errors import FlannelError
from flannel_sdk.netns import enter_netns
from flannel_sdk_udp.userspace.counting import Counts

_logger = logging.getLogger(__name__)


class Work(Protocol):
    """What a thread does."""

    counts: Counts

    def work(self) -> None:
        """Do what there is to do, not more than a batch."""
        ...


class Worker:
    """Runs ``Work`` in a thread of its own in the tunnel's namespace until ``stop``."""

    def __init__(
        self,
        name: str,
        netns: str | None,
        descriptor: int,
        work: Work,
        ended: Callable[[Exception], None],
    ) -> None:
        """``ended`` is called in the thread, which is over then, with why.

        An OSError of the work, or what keeps the thread out of the namespace. Raises OSError or
        RuntimeError where there is no room for another descriptor or thread.
        """
        self._netns = netns
        self._descriptor = descriptor
        self._work = work
        self._ended = ended
        self._told = False
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except BaseException:
            os.close(self._stop)
            raise

    def tell_to_stop(self) -> None:
        """Make the thread end soon."""
        os.eventfd_write(self._stop, 1)

    def join(self) -> None:
        """Wait until the thread has ended; once."""
        self._thread.join()
        os.close(self._stop)

    def _run(self) -> None:
        try:
            if self._netns is not None:
                enter_netns(self._netns)
        except FlannelError as error:
            self._ended(error)
            return
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._stop:
                    return
            try:
                self._work.work()
            except OSError as error:
                self._ended(error)
                return
            except Exception:  # a defect that one packet shows must not stop the others
                if not self._told:
                    self._told = True
                    _logger.exception("a packet was lost to a defect; the next ones silently")
