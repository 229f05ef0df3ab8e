"""After a watch broke: whether to connect again at once or to wait, and what is said of it."""

import asyncio
import logging
from contextlib import suppress

from flannel_sdk.backoff import Backoff, Complaint
from flannel_sdk.errors import FlannelError
from flannel_sdk_etcd.schema import WatchResponse
from flannel_sdk_etcd.transport import CallFailed, Failure
from flannel_sdk_etcd.watch_stream import Silence

_log = logging.getLogger(__name__)

_STANDS_SECONDS = 1.0
"""A stream that stood for so long has worked, whether or not there were events."""
_LONGEST_PATIENCE = 8
"""Times the silence after which a server is asked."""


class Recovery:
    """Delays between streams: none after one that worked, else from 0.1 to 5 s, jittered."""

    def __init__(self, doing: str, closed: asyncio.Event, silence: float) -> None:
        self._closed = closed
        self._backoff = Backoff(first=0.1, limit=5.0)
        self._complaint = Complaint(_log, doing)
        self._silence = silence
        self.patience = silence
        """Seconds to wait for an answer; longer where no server gave one in time, since a server
        that reads a long history for a watch answers nothing meanwhile."""
        self.has_ever_worked = False
        self._opened_at: float | None = None
        self._has_brought = False
        self._token_was_refused = False

    def connecting(self) -> None:
        """The next attempt begins."""
        self._opened_at = None
        self._has_brought = False

    def heard(self, response: WatchResponse, *, is_new: bool) -> None:
        """The server answered, and did not refuse. ``is_new``: with events not delivered before.

        Events that a stream repeats are no use: a server that is cut off after them makes none.
        """
        if response.created:
            self._opened_at = asyncio.get_running_loop().time()
            self.has_ever_worked = True
            self._complaint.healed()
        elif not self._has_brought and (is_new or not response.events):
            self._has_brought = True
            self.patience = self._silence

    def judged(self, error: CallFailed, *, has_token: bool) -> CallFailed:
        """``error`` as what it probably is.

        Older servers answer a watch with an expired token with "permission denied", so only of a
        new token is that believed.
        """
        token_is_new = self._token_was_refused and not self._has_worked(error)
        if error.failure is Failure.FORBIDDEN and has_token and not token_is_new:
            return CallFailed(Failure.TOKEN_REFUSED, error.detail)
        return error

    async def wait_out(self, error: FlannelError, said: FlannelError) -> None:
        """Return when it is time to connect again after ``error``, or when the client was closed.

        ``said`` is the error as people should read it.
        """
        delay = self._delay_after(error)
        if delay is None or self._closed.is_set():
            return
        self._complaint.failed(said, delay)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._closed.wait()

    def _delay_after(self, error: FlannelError) -> float | None:
        """None: at once and without a word, since a token that expires is no trouble."""
        has_worked = self._has_worked(error)
        if has_worked:
            self._backoff.reset()
            self._token_was_refused = False
        elif isinstance(error, Silence):
            self.patience = min(self.patience * 2, self._silence * _LONGEST_PATIENCE)
        if isinstance(error, CallFailed) and error.failure is Failure.TOKEN_REFUSED:
            was_refused, self._token_was_refused = self._token_was_refused, True
            if not was_refused:
                return None
        return 0.0 if has_worked else self._backoff.next_delay()

    def _has_worked(self, error: FlannelError) -> bool:
        """Whether the stream that ended with ``error`` was of use."""
        if self._has_brought or self._opened_at is None or isinstance(error, Silence):
            return self._has_brought
        return asyncio.get_running_loop().time() - self._opened_at >= _STANDS_SECONDS
