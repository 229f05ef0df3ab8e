"""Jittered exponential back-off, and the loop that retries what can heal."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from flannel_sdk.errors import FlannelError, PermanentError

T = TypeVar("T")
_log = logging.getLogger(__name__)

SAY_AGAIN_SECONDS = 60.0
"""A failure that goes on is logged when it starts and this often, and so is each other text."""


class Backoff:
    """Delays in seconds that double from ``first`` to ``limit``, each jittered down by up to half.

    The jitter keeps nodes that failed together from trying again together.
    """

    def __init__(self, first: float = 0.2, limit: float = 30.0) -> None:
        self._first = first
        self._limit = limit
        self._next = first

    def reset(self) -> None:
        """After a success: start again from the first delay."""
        self._next = self._first

    def next_delay(self) -> float:
        """The delay to wait now; the one after it is longer."""
        delay = self._next
        self._next = min(self._limit, delay * 2)
        return delay * random.uniform(0.5, 1.0)


class Complaint:
    """Says that something keeps failing, without saying it at each try."""

    def __init__(self, log: logging.Logger, doing: str) -> None:
        self._log = log
        self._doing = doing
        self._said: dict[str, float] = {}
        """When each text was logged, of the last minute: failures of several servers alternate."""
        self._unsaid = 0
        """Failures since one was logged."""
        self._is_open = False
        """Whether a failure was logged and its end was not."""

    def failed(self, error: Exception, delay: float) -> None:
        """Log unless the same text was logged within the last minute; a defect with its trace.

        Also where it worked in between: what fails and heals each second says so once a minute.
        """
        defect = None if isinstance(error, FlannelError) else error
        text = f"{type(error).__name__}: {error}" if defect else str(error).removesuffix(".")
        now = time.monotonic()
        self._said = {t: at for t, at in self._said.items() if now - at < SAY_AGAIN_SECONDS}
        if text in self._said:
            self._unsaid += 1
            return
        self._said[text] = now
        self._is_open = True
        when = f"in {delay:.1f} s" if delay >= 0.05 else "at once"
        self._log.warning(
            "%s: %s; trying again %s",
            self._doing,
            text,
            when,
            exc_info=defect,
            extra=self._counted(),
        )

    def healed(self) -> None:
        """Log once that it works again, if a failure was logged."""
        if self._is_open:
            self._log.info("%s: works again", self._doing, extra=self._counted())
        self._is_open = False

    def _counted(self) -> dict[str, object]:
        """``repeated`` in a record: how many failures were not logged since the last one was."""
        unsaid, self._unsaid = self._unsaid, 0
        return {"repeated": unsaid} if unsaid else {}


class Trouble:
    """A failure that is waited out: its delays, and what is said of it."""

    def __init__(self, log: logging.Logger, doing: str, backoff: Backoff | None = None) -> None:
        """``doing`` says in the log what was tried, as a phrase: ``reading the configuration``."""
        self.backoff = backoff or Backoff()
        self._complaint = Complaint(log, doing)

    async def wait_out(self, error: Exception, until: asyncio.Event | None = None) -> None:
        """Complain of ``error``, unless that was done just now, and sleep until the next try.

        Setting ``until`` ends the sleep.
        """
        delay = self.backoff.next_delay()
        self._complaint.failed(error, delay)
        if until is None:
            await asyncio.sleep(delay)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await until.wait()

    def over(self) -> None:
        """It works: start from the first delay again, and say so if a failure was logged."""
        self.backoff.reset()
        self._complaint.healed()


async def retry(doing: str, operation: Callable[[], Awaitable[T]]) -> T:
    """The first result of ``operation``; a PermanentError is raised, what may heal is waited out.

    So is a plugin's defect, which is logged with its trace: it must not end an agent. ``doing`` is
    as for ``Trouble``.
    """
    trouble = Trouble(_log, doing)
    while True:
        try:
            result = await operation()
        except PermanentError:
            raise
        except Exception as error:
            await trouble.wait_out(error)
        else:
            trouble.over()
            return result
