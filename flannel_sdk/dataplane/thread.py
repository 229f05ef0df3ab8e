"""The kernel thread: runs blocking calls one after another, inside one network namespace."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from flannel_sdk.errors import FlannelError
from flannel_sdk.netns import enter_netns

T = TypeVar("T")


class KernelThread:
    """One daemon thread that starts with the first call and ends with ``aclose``."""

    def __init__(self, netns: str | None) -> None:
        self.netns = netns
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._broken: FlannelError | None = None
        self._closed = False

    def call(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Queue ``work``; calls run in order. Cancelling the future does not stop work begun."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._closed:
            raise RuntimeError("the kernel is closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="flannel-kernel", daemon=True)
            self._thread.start()

        def job() -> None:
            try:
                if self._broken is not None:
                    raise self._broken
                result = work()
            except BaseException as error:
                self._answer(loop, future, None, error)
            else:
                self._answer(loop, future, result, None)

        self._jobs.put(job)
        return future

    def _answer(
        self,
        loop: asyncio.AbstractEventLoop,
        future: "asyncio.Future[T]",
        result: T | None,
        error: BaseException | None,
    ) -> None:
        def settle() -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None only where T has it

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle)

    def _run(self) -> None:
        if self.netns is not None:
            try:
                enter_netns(self.netns)
            except FlannelError as error:
                self._broken = error
        while (job := self._jobs.get()) is not None:
            job()

    async def aclose(self) -> None:
        """Run what is queued, then end the thread; idempotent."""
        if self._closed:
            return
        self._closed = True
        thread = self._thread
        if thread is None:
            return
        self._jobs.put(None)
        await asyncio.get_running_loop().run_in_executor(None, thread.join)
