"""The kube store against real API servers on loopback: start, events, import; no root needed.

Each figure is of a process of its own; those of a start are medians of several.
"""

import json
import statistics
from dataclasses import dataclass

from benchmarks.kube_server import Site, Writer, kube_sites
from benchmarks.percentiles import Percentiles, percentiles
from benchmarks.reader import import_cost, run_reader
from flannel_sdk.cli.tables import Column, print_table

ROUNDS = 3
NODES = 5_000
HEARTBEATS = 1_000


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """All that is measured with one kind of server; seconds unless a name says otherwise."""

    kind: str
    wall: float
    cpu: float
    peak_mib: float
    change_ms: Percentiles
    """From just before a patch is sent until our watch gives the changed lease."""
    patch_ms: Percentiles
    """What the API server took to answer the same patches."""
    change_cpu: float
    heartbeat_cpu: float


@dataclass(frozen=True, slots=True)
class KubeFigures:
    """All figures."""

    nodes: int
    servers: list[ServerFigures]
    import_cpu: float
    import_mib: float


def measure_kube(nodes: int, events: int) -> KubeFigures:
    """All of it; ConfigError, with what to do, where there is no API server to be found."""
    with kube_sites(nodes) as sites:
        servers = [measure_server(site, nodes, min(events, nodes)) for site in sites]
    cpu, memory = import_cost("benchmarks.kube_reader")
    return KubeFigures(nodes, servers, cpu, memory)


def measure_server(site: Site, nodes: int, events: int) -> ServerFigures:
    """Starts with ``nodes`` other nodes, then changes of them."""
    options = json.dumps(dict(site.options))

    def reader(what: str, count: int) -> tuple[str, ...]:
        return ("benchmarks.kube_reader", what, str(count), options)

    starts = [run_reader(*reader("snapshot", nodes + 1)) for _ in range(ROUNDS)]
    writer = Writer(site.server)
    answered: list[float] = []
    try:
        changed = run_reader(
            *reader("changes", events),
            first=writer.touch,
            then=lambda: answered.extend(writer.changes(events, 1e-3)),
        )
        beaten = run_reader(
            *reader("heartbeats", HEARTBEATS),
            first=writer.touch,
            then=lambda: writer.heartbeats(HEARTBEATS),
        )
    finally:
        writer.close()
    middle = {name: statistics.median(start[name] for start in starts) for name in starts[0]}
    return ServerFigures(
        site.kind,
        wall=middle["wall"],
        cpu=middle["cpu"],
        peak_mib=middle["peak_mib"],
        change_ms=(changed["p50_ms"], changed["p99_ms"]),
        patch_ms=percentiles(answered),
        change_cpu=changed["cpu"],
        heartbeat_cpu=beaten["cpu"],
    )


def _both(times: Percentiles) -> str:
    return f"{times[0]:.1f} / {times[1]:.1f}"


def print_kube(figures: KubeFigures) -> None:
    """One table, with what each figure has to reach."""
    servers = figures.servers
    many = f"{figures.nodes:,}"
    rows = [
        [f"(l) first snapshot of {many} nodes, s", *(f"{s.wall:.2f}" for s in servers), ""],
        ["    CPU s, from the start of the process", *(f"{s.cpu:.2f}" for s in servers), "<= 1.5"],
        ["    peak RSS, MiB", *(f"{s.peak_mib:.0f}" for s in servers), "<= 60"],
        ["(m) patch to event, p50 / p99 ms", *(_both(s.change_ms) for s in servers), ""],
        ["    patch to the answer, ms", *(_both(s.patch_ms) for s in servers), ""],
        ["    CPU us an event", *(f"{s.change_cpu * 1e6:.0f}" for s in servers), ""],
        [
            "(n) CPU us a kubelet's heartbeat",
            *(f"{s.heartbeat_cpu * 1e6:.0f}" for s in servers),
            "",
        ],
        ["(o) import over the core, CPU s", *(f"{figures.import_cpu:.2f}" for _ in servers), ""],
        ["    MiB", *(f"{figures.import_mib:.1f}" for _ in servers), ""],
    ]
    print_table(["what", *(Column(s.kind, True) for s in servers), "goal"], rows)
