"""Streams that end with their store."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from flannel_sdk.closing import Closing


async def count(limit: int, ended: list[str]) -> AsyncGenerator[int, None]:
    try:
        for number in range(limit):
            yield number
        await asyncio.Event().wait()
    finally:
        ended.append("ended")


async def test_a_stream_ends_when_it_is_closed_and_closes_its_source() -> None:
    closing = Closing()
    ended: list[str] = []
    items = closing.until_closed(count(2, ended))
    assert [await anext(items), await anext(items)] == [0, 1]
    waiting = asyncio.ensure_future(anext(items, "end"))
    await asyncio.sleep(0)
    closing.close()
    closing.close()
    assert await waiting == "end"
    assert ended == ["ended"]
    assert [item async for item in closing.until_closed(count(2, ended))] == []


async def test_a_cancelled_reader_of_a_stream_is_cancelled() -> None:
    closing = Closing()
    ended: list[str] = []
    items = closing.until_closed(count(0, ended))
    waiting = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == ["ended"]


async def test_a_timeout_of_the_source_or_of_the_reader_stays_one() -> None:
    async def fails() -> AsyncGenerator[int, None]:
        yield 1
        raise TimeoutError("its own")

    closing = Closing()
    async with aclosing(closing.until_closed(fails())) as items:
        assert await anext(items) == 1
        with pytest.raises(TimeoutError, match="its own"):
            await anext(items)
    async with aclosing(closing.until_closed(count(0, []))) as waits:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(waits), 0.01)
