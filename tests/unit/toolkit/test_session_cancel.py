"""A cancel while a session opens loses nothing of what its threads were getting."""

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from flannel_sdk.dataplane import LinuxKernel, Ownership
from flannel_sdk.netns import run_in_netns
from flannel_sdk.toolkit import open_kernel, session

MINE = Ownership(frozenset({f"none-{os.getpid()}"}), ())


async def cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_what_is_still_being_held_is_freed_when_the_cancel_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(netns: str | None, work: Callable[[], ExitStack]) -> ExitStack:
        begun.set()
        assert go_on.wait(10)
        return run_in_netns(netns, work)

    async def use() -> None:
        async with open_kernel(None, MINE):
            raise AssertionError("it was cancelled before")

    monkeypatch.setattr(session, "run_in_netns", slowly)
    task = asyncio.create_task(use())
    assert await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)  # the thread is late
    await asyncio.wait([task])
    assert task.cancelled()
    assert go_on.is_set()
    session._hold(MINE).close()  # KernelRefused if anybody still holds it


async def test_a_subscription_is_closed_with_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = LinuxKernel()
    begun, go_on = threading.Event(), threading.Event()

    def busy() -> None:
        begun.set()
        assert go_on.wait(10)

    occupied = kernel._thread.call(busy)
    task = asyncio.create_task(kernel.subscribe(lambda notices: None))
    assert await asyncio.to_thread(begun.wait, 10)
    await cancelled(task)
    go_on.set()
    await occupied
    await kernel.aclose()  # a socket that it forgot fails this test
