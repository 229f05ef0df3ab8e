"""Waits until gRPC has let go of a cancelled call: its word comes through the event loop."""

import asyncio
import gc
from typing import Any

from flannel_sdk_etcd.grpc_library import aio

_LONGEST = 1.0
_TASKS = ("StreamStreamCall.", "UnaryUnaryCall.", "_AioCall.")
"""What gRPC runs as tasks of its own."""


async def released(call: aio.Call) -> None:
    """Return when gRPC has noticed that ``call`` was cancelled: a few turns of the loop.

    If the loop ended first, the call would never be freed, and with it its channel, connection
    and thread. ``call.done()`` is of no use: it is true as soon as the call is cancelled.
    """
    ending = [task for task in asyncio.all_tasks() if _is_of(task, call)]
    if ending:
        await asyncio.wait(ending, timeout=_LONGEST)


def _is_of(task: asyncio.Task[Any], call: aio.Call) -> bool:
    coroutine = task.get_coro()
    if not getattr(coroutine, "__qualname__", "").startswith(_TASKS):
        return False
    core = getattr(call, "_cython_call", None)  # no name is public that its tasks know it by
    scopes = gc.get_referents(coroutine)
    return any(held is core for scope in scopes for held in gc.get_referents(scope))
