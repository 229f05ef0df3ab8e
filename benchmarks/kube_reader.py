"""What the kube benchmark measures, in a process of its own: ``python -m benchmarks.kube_reader``.

Arguments: ``import``; or ``snapshot``, ``changes`` or ``heartbeats`` with a number and the store's
options as JSON. It prints a line when it has the first snapshot, another when the watch has given
a first change, and a line of JSON last.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from benchmarks.etcd_reader import cpu_seconds, memory_mib
from benchmarks.percentiles import percentiles
from flannel_sdk.agent import open_store
from flannel_sdk.interfaces import SubnetManager
from flannel_sdk.model import LeaseDelta, LeaseSnapshot

Items = AsyncGenerator[LeaseSnapshot | LeaseDelta, None]


async def snapshot(items: Items, count: int) -> dict[str, float]:
    """From the start of the process to the first snapshot; ``wall`` is without the start."""
    begin = time.monotonic()
    first = await anext(items)
    wall = time.monotonic() - begin
    assert isinstance(first, LeaseSnapshot)
    assert len(first.leases) == count
    assert not first.malformed
    return {"wall": wall, "cpu": cpu_seconds(), "peak_mib": memory_mib("VmHWM")}


async def _until_watching(items: Items) -> None:
    await anext(items)
    print("listed", flush=True)
    await anext(items)
    print("watching", flush=True)


async def changes(items: Items, count: int) -> dict[str, float]:
    """``count`` changed leases, each of which says when it was written."""
    await _until_watching(items)
    seconds: list[float] = []
    cpu = cpu_seconds()
    while len(seconds) < count:
        item = await anext(items)
        now = time.monotonic()
        for lease in item.changed if isinstance(item, LeaseDelta) else ():
            written = json.loads(lease.attrs.backend_data.ipv4 or "{}").get("Put")
            if written is not None:
                seconds.append(now - written)
    cpu = cpu_seconds() - cpu
    p50, p99 = percentiles(seconds)
    return {"cpu": cpu / count, "p50_ms": p50, "p99_ms": p99}


async def heartbeats(items: Items, count: int) -> dict[str, float]:
    """``count`` changes of nodes that change no lease, and a change of one that does."""
    await _until_watching(items)
    cpu = cpu_seconds()
    item = await anext(items)
    assert isinstance(item, LeaseDelta)
    return {"cpu": (cpu_seconds() - cpu) / count}


async def _watch(what: str, store: SubnetManager, count: int) -> dict[str, float]:
    measure = {"snapshot": snapshot, "changes": changes, "heartbeats": heartbeats}[what]
    try:
        async with asyncio.timeout(120), aclosing(store.watch_leases()) as items:
            return await measure(items, count)
    finally:
        await store.aclose()


def main(what: str, count: str = "0", options: str = "{}") -> None:
    """Measure ``what`` and print it."""
    if what == "import":
        open_store("kube", {"service_host": "127.0.0.1", "service_port": "1"})
        figures = {"cpu": cpu_seconds(), "mib": memory_mib()}
    else:
        store = open_store("kube", json.loads(options))
        figures = asyncio.run(_watch(what, store, int(count)))
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
