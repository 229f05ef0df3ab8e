"""The etcd store against a real etcd on loopback: first snapshot, events, import; no root needed.

Each figure is of a process of its own; those of a start are medians of several.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.etcd_server import Writer, etcd_server
from benchmarks.percentiles import Percentiles, percentiles
from benchmarks.reader import import_cost, run_reader
from flannel_sdk.cli.tables import Column, print_table

READER = "benchmarks.etcd_reader"
ROUNDS = 3
BURST = 5_000
SIZES = (1_000, 10_000, 50_000)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The first snapshot of one size, seconds and MiB."""

    leases: int
    wall: float
    cpu: float
    added_mib: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class EtcdFigures:
    """All figures; times in seconds unless a name says otherwise."""

    snapshots: list[Snapshot]
    burst_wall: float
    burst_cpu: float
    burst_written: float
    """What the writer itself took for the burst."""
    event_ms: Percentiles
    """From just before a put is sent until our watch gives the decoded lease: p50 and p99."""
    put_ms: Percentiles
    """What etcd took to answer the same puts."""
    import_cpu: float
    import_mib: float


def measure_etcd(sizes: list[int], events: int) -> EtcdFigures:
    """All of it; ConfigError, with what to do, where there is no etcd to be found."""
    with etcd_server() as endpoint:
        snapshots = [measure_snapshot(endpoint, size) for size in sizes]
        burst, written = measure_burst(endpoint)
        event_ms, put_ms = measure_latency(endpoint, events)
    cpu, memory = import_cost(READER)
    return EtcdFigures(
        snapshots=snapshots,
        burst_wall=burst["wall"],
        burst_cpu=burst["cpu"],
        burst_written=written,
        event_ms=event_ms,
        put_ms=put_ms,
        import_cpu=cpu,
        import_mib=memory,
    )


def measure_snapshot(endpoint: str, leases: int) -> Snapshot:
    """Medians of several readers of the same leases."""
    prefix = f"/snapshot-{leases}"
    Writer(endpoint, prefix).fill(leases)
    found = [_reader("snapshot", endpoint, prefix, str(leases)) for _ in range(ROUNDS)]

    def middle(name: str) -> float:
        return statistics.median(figures[name] for figures in found)

    return Snapshot(leases, *(middle(n) for n in ("wall", "cpu", "added_mib", "peak_mib")))


def measure_burst(endpoint: str) -> tuple[dict[str, float], float]:
    """What the reader took for it, and what the writer took."""
    writer = Writer(endpoint, "/burst")
    writer.fill(BURST)
    written = []
    figures = _reader(
        *("burst", endpoint, "/burst", str(BURST)),
        first=writer.touch,
        then=lambda: written.append(writer.burst(BURST)),
    )
    return figures, written[0]


def measure_latency(endpoint: str, events: int) -> tuple[Percentiles, Percentiles]:
    """The two of ``EtcdFigures``."""
    writer = Writer(endpoint, "/latency")
    writer.fill(1)

    def values() -> Iterator[bytes]:
        for _ in range(events):
            value = {
                "PublicIP": "172.16.0.2",
                "PublicIPv6": None,
                "BackendType": "vxlan",
                "BackendData": {"Put": time.monotonic()},
            }
            yield json.dumps(value, separators=(",", ":")).encode()

    answered: list[float] = []
    found = _reader(
        *("latency", endpoint, "/latency", str(events)),
        first=writer.touch,
        then=lambda: answered.extend(writer.one_by_one(values(), 1e-3)),
    )
    return (found["p50_ms"], found["p99_ms"]), percentiles(answered)


def _reader(
    *arguments: str,
    first: Callable[[], None] | None = None,
    then: Callable[[], None] | None = None,
) -> dict[str, float]:
    return run_reader(READER, *arguments, first=first, then=then)


def _both(times: Percentiles) -> str:
    return f"{times[0]:.1f} / {times[1]:.1f}"


def print_etcd(figures: EtcdFigures) -> None:
    """Two tables, with what each figure has to reach."""
    snapshots = figures.snapshots
    columns: list[str | Column] = [Column(f"{snapshot.leases:,}", True) for snapshot in snapshots]
    rows = [
        ["(h) first snapshot from etcd, s", *(f"{s.wall:.3f}" for s in snapshots), ""],
        ["    CPU s", *(f"{s.cpu:.3f}" for s in snapshots), "<= 0.5 at 10,000"],
        ["    memory that it adds, MiB", *(f"{s.added_mib:.1f}" for s in snapshots), ""],
        ["    peak RSS, MiB", *(f"{s.peak_mib:.0f}" for s in snapshots), ""],
    ]
    print_table(["what", *columns, "goal"], rows)
    throughput = BURST / figures.burst_wall
    print_table(
        ["what", Column("", True), "goal"],
        [
            [f"(i) burst of {BURST:,} changes, events/s", f"{throughput:,.0f}", ""],
            ["    the writer alone, puts/s", f"{BURST / figures.burst_written:,.0f}", ""],
            ["    CPU of the reader, us an event", f"{figures.burst_cpu / BURST * 1e6:.0f}", ""],
            ["(j) put to event, p50 / p99 ms", _both(figures.event_ms), "p99 <= 5"],
            ["    put to etcd's answer, ms", _both(figures.put_ms), ""],
            ["(k) import over the core, CPU s", f"{figures.import_cpu:.2f}", "<= 0.3"],
            ["    MiB", f"{figures.import_mib:.1f}", "<= 25"],
        ],
    )
