"""The embedded store's own latency: a write until a watcher has it, without backend or kernel."""

import asyncio
import statistics
import time
from contextlib import aclosing
from pathlib import Path

from benchmarks.cluster import PeerTable
from flannel_sdk.agent import open_store
from flannel_sdk.interfaces import SupportsConfigWrite

_CONFIG = '{"Network": "10.0.0.0/8", "Backend": {"Type": "vxlan"}}'


def store_latency(path: Path, events: int) -> tuple[float, float]:
    """p50 and p99 in ms."""
    return asyncio.run(_measure(path, events))


async def _measure(path: Path, events: int) -> tuple[float, float]:
    store = open_store("sqlite", {"path": str(path)})
    try:
        assert isinstance(store, SupportsConfigWrite)
        await store.put_network_config(_CONFIG)
        table = PeerTable(path)
        seconds = []
        async with aclosing(store.watch_leases()) as items:
            await anext(items)
            for generation in range(events):
                begin = time.monotonic()
                table.put(1, generation)
                await anext(items)
                seconds.append(time.monotonic() - begin)
        table.close()
    finally:
        await store.aclose()
    ordered = sorted(seconds)
    return statistics.median(ordered) * 1e3, ordered[int(len(ordered) * 0.99)] * 1e3
