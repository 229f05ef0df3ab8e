"""One stream of a watch: what is asked, and how a server that fell silent is noticed."""

import asyncio
from typing import Self

from google.protobuf.message import Message

from flannel_sdk_etcd.schema import (
    WatchCreateRequest,
    WatchProgressRequest,
    WatchRequest,
    WatchResponse,
)
from flannel_sdk_etcd.transport import CallFailed, Connection, Failure, Method


class Silence(CallFailed):
    """The server neither sent anything nor answered."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            Failure.UNANSWERED, f"nothing was heard for {seconds:.0f} s, though it was asked for"
        )


class WatchStream:
    """The responses of one connection to one watch. To be closed, also after a failure."""

    def __init__(
        self,
        connection: Connection,
        token: str | None,
        create: WatchCreateRequest,
        silence: float,
        patience: float,
    ) -> None:
        """After ``silence`` seconds without a response one is asked for, and awaited
        ``patience`` seconds. Time in which nobody waits for a response does not count.
        """
        self._requests = _Requests(WatchRequest(create_request=create))
        self._responses = connection.stream(Method.WATCH, self._requests, token=token)
        self._silence = silence
        self._patience = patience
        self._waits = 0
        self._waits_since = 0.0
        self._waiting: asyncio.Timeout | None = None
        self._watchdog: asyncio.TimerHandle | None = None

    async def next(self) -> WatchResponse:
        """The next response; CallFailed when the stream ended, Silence."""
        self._waits += 1
        self._waits_since = asyncio.get_running_loop().time()
        if self._watchdog is None:
            self._look_again()
        try:
            async with asyncio.timeout(None) as self._waiting:
                response = await anext(self._responses)
        except TimeoutError:
            raise Silence(self._silence + self._patience) from None
        except StopAsyncIteration:
            raise CallFailed(Failure.UNANSWERED, "the server ended the stream") from None
        finally:
            self._waiting = None
        assert isinstance(response, WatchResponse)
        return response

    async def aclose(self) -> None:
        """End the stream at once. Idempotent."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        await self._responses.aclose()

    def _look_again(self, after: float = 0.0, *, has_asked: bool = False) -> None:
        """Look, when the present wait has lasted too long, whether it still lasts.

        One timer that moves on when it fires costs less than one for each response.
        """
        due = self._waits_since + self._silence + after
        self._watchdog = asyncio.get_running_loop().call_at(due, self._look, self._waits, has_asked)

    def _look(self, waits: int, has_asked: bool) -> None:
        self._watchdog = None
        if self._waiting is None:
            return  # a slow consumer; its next wait will be looked after
        if waits != self._waits:
            self._look_again()
        elif not has_asked:
            self._requests.ask_for_progress()
            self._look_again(self._patience, has_asked=True)
        else:
            self._waiting.reschedule(0.0)


class _Requests:
    """What is sent on the stream: the watch, then a question whenever the server is silent."""

    def __init__(self, first: WatchRequest) -> None:
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._queue.put_nowait(first)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        return await self._queue.get()

    def ask_for_progress(self) -> None:
        self._queue.put_nowait(WatchRequest(progress_request=WatchProgressRequest()))
