"""What the etcd benchmark measures, in a process of its own: ``python -m benchmarks.etcd_reader``.

Arguments: ``import`` or ``import-core``; or ``snapshot``, ``burst`` or ``latency`` with endpoint,
prefix and a number. It prints a line when it has the first snapshot, another when the watch has
given a first change, and a line of JSON last.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from flannel_sdk.agent import open_store
from flannel_sdk.interfaces import SubnetManager
from flannel_sdk.model import LeaseDelta, LeaseSnapshot

Items = AsyncGenerator[LeaseSnapshot | LeaseDelta, None]


def cpu_seconds() -> float:
    """Of this process, all threads, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def memory_mib(which: str = "VmRSS") -> float:
    """Resident now, or ``VmHWM``: at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no such line")


def import_cost(with_plugin: bool) -> dict[str, float]:
    """From the start of the process on; all that a daemon has imported before its first call."""
    if with_plugin:
        open_store("etcd", {})
    else:
        open_store("memory", {})
    return {"cpu": cpu_seconds(), "mib": memory_mib()}


async def snapshot(items: Items, count: int) -> dict[str, float]:
    """The first snapshot, with ``count`` leases: all that it costs, the connection too."""
    cpu, begin, memory = cpu_seconds(), time.monotonic(), memory_mib()
    first = await anext(items)
    wall, cpu = time.monotonic() - begin, cpu_seconds() - cpu
    assert isinstance(first, LeaseSnapshot)
    assert len(first.leases) == count
    assert not first.malformed
    return {
        "wall": wall,
        "cpu": cpu,
        "added_mib": memory_mib() - memory,
        "peak_mib": memory_mib("VmHWM"),
    }


async def until_watching(items: Items) -> None:
    """Past what only the first change has to wait for: etcd may take 100 ms to begin a watch."""
    await anext(items)
    print("listed", flush=True)
    await anext(items)
    print("watching", flush=True)


async def burst(items: Items, count: int) -> dict[str, float]:
    """``count`` changed leases after the snapshot, from the first one on."""
    await until_watching(items)
    seen: set[object] = set()
    begin, cpu = 0.0, cpu_seconds()
    batches = 0
    while len(seen) < count:
        item = await anext(items)
        begin = begin or item.received_at
        batches += 1
        assert isinstance(item, LeaseDelta)
        seen.update(lease.subnets for lease in item.changed)
    return {"wall": time.monotonic() - begin, "cpu": cpu_seconds() - cpu, "batches": batches}


async def latency(items: Items, count: int) -> dict[str, float]:
    """Each value says when it was put, in seconds of CLOCK_MONOTONIC; p50 and p99 in ms."""
    await until_watching(items)
    seconds: list[float] = []
    while len(seconds) < count:
        item = await anext(items)
        now = time.monotonic()
        assert isinstance(item, LeaseDelta)
        for lease in item.changed:
            seconds.append(now - float(json.loads(lease.attrs.backend_data.ipv4 or "{}")["Put"]))
    seconds.sort()
    return {
        "p50_ms": seconds[len(seconds) // 2] * 1e3,
        "p99_ms": seconds[int(len(seconds) * 0.99)] * 1e3,
    }


async def _watch(what: str, store: SubnetManager, count: int) -> dict[str, float]:
    measure = {"snapshot": snapshot, "burst": burst, "latency": latency}[what]
    try:
        async with asyncio.timeout(120), aclosing(store.watch_leases()) as items:
            return await measure(items, count)
    finally:
        await store.aclose()


def main(what: str, *arguments: str) -> None:
    """Measure ``what`` and print it."""
    if what.startswith("import"):
        figures = import_cost(with_plugin=what == "import")
    else:
        endpoint, prefix, count = arguments
        store = open_store("etcd", {"endpoints": endpoint, "prefix": prefix})
        figures = asyncio.run(_watch(what, store, int(count)))
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
