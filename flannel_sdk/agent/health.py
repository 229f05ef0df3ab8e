"""An agent's health, served over HTTP, and the store asked now and then whether it is there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from flannel_sdk.engine.store_meter import StoreMeter
from flannel_sdk.health.endpoints import serve_health
from flannel_sdk.health.options import HealthOptions


@asynccontextmanager
async def serving_health(
    options: HealthOptions, status: Callable[[], Mapping[str, object]], meter: StoreMeter
) -> AsyncIterator[None]:
    """Answer while the block runs; ConfigError at once where the port cannot be had."""
    async with serve_health(options, status):
        interval = options.store_silence / 6
        asking = asyncio.create_task(meter.keep_hearing(interval), name="store check")
        try:
            yield
        finally:
            asking.cancel()
            await asyncio.wait([asking])
