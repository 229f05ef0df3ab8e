"""Waits for the first of several things; what was not it is cancelled and has ended."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def unless(otherwise: Awaitable[object], work: Awaitable[T]) -> T | None:
    """What ``work`` gives; None, with ``work`` cancelled, where ``otherwise`` ends before."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(otherwise)
    try:
        await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.wait([working, waiting])


async def either(*awaited: Awaitable[object]) -> None:
    """Return when one of them has ended; the others are cancelled."""
    waiting = [asyncio.ensure_future(one) for one in awaited]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
