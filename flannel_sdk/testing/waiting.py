"""Waiting for a condition in tests, with a deadline."""

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Return when ``condition()`` is true; AssertionError that names ``what`` after ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  # any condition, not only events
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None
