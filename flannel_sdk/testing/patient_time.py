"""Virtual time for code that may also use threads and sockets: those get real time to answer."""

import asyncio
import contextvars
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_LONGEST_JOB = 30.0
"""Seconds of real time that a thread may take before virtual time goes on without it."""
_FOR_SOCKETS = 0.02
"""Seconds of real time in which a socket of the code may still say something."""


class _Selector(selectors.SelectSelector):
    now = 0.0
    jobs = 0
    longest_turn = 0.0
    _returned: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._returned is not None:
            self.longest_turn = max(self.longest_turn, time.perf_counter() - self._returned)
        try:
            return self._wait_or_jump(timeout)
        finally:
            self._returned = time.perf_counter()

    def _wait_or_jump(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if (patience := self._patience()) > 0:
            began = time.monotonic()
            ready = super().select(patience if timeout is None else min(patience, timeout))
            if ready:
                self.now += min(time.monotonic() - began, timeout or 0.0)
                return ready
        if timeout is None:
            raise AssertionError("deadlock: every task waits and no timer is set")
        self.now += timeout
        return []

    def _patience(self) -> float:
        if self.jobs:
            return _LONGEST_JOB
        return _FOR_SOCKETS if len(self.get_map()) > 1 else 0.0  # one is the loop's own


class PatientLoop(asyncio.SelectorEventLoop):
    """Its clock jumps to the next timer when no thread and no socket has anything to say."""

    def __init__(self) -> None:
        self._patient = _Selector()
        super().__init__(self._patient)

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._patient.now

    def take_longest_turn(self) -> float:
        """Seconds of real time that the longest turn took since this was asked last."""
        longest, self._patient.longest_turn = self._patient.longest_turn, 0.0
        return longest

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> "asyncio.Future[T]":
        """As every loop's; while it works, time is real."""
        self._patient.jobs += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._job_done, context=contextvars.Context())
        return future

    def _job_done(self, future: "asyncio.Future[Any]") -> None:
        self._patient.jobs -= 1
