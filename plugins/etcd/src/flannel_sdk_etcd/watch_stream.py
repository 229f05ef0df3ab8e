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
        self, connection: Connection, token: str | None, create: WatchCreateRequest, silence: float
    ) -> None:
        self._requests = _Requests(WatchRequest(create_request=create))
        self._responses = connection.stream(Method.WATCH, self._requests, token=token)
        self._silence = silence

    async def next(self, patience: float) -> WatchResponse:
        """The next response; CallFailed when the stream ended or the server is silent.

        After ``silence`` seconds without a response one is asked for, and awaited ``patience``
        seconds. Time in which nobody waits here does not count.
        """
        loop = asyncio.get_running_loop()
        probe = loop.call_later(self._silence, self._requests.ask_for_progress)
        try:
            async with asyncio.timeout(self._silence + patience):
                response = await anext(self._responses)
        except TimeoutError:
            raise Silence(self._silence + patience) from None
        except StopAsyncIteration:
            raise CallFailed(Failure.UNANSWERED, "the server ended the stream") from None
        finally:
            probe.cancel()
        assert isinstance(response, WatchResponse)
        return response

    async def aclose(self) -> None:
        """End the stream at once. Idempotent."""
        await self._responses.aclose()


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
