"""``make bench``: convergence, restart, events, repair and memory, beside the kernel's own floor.

All of it in fresh namespaces of this machine; needs root. Then the etcd store, beside a real etcd,
and the kube store, beside real API servers. Figures are of one machine and one run: compare the
ratios. Letters (a) to (o) name the rows everywhere.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.cluster import (
    Daemon,
    Node,
    PeerTable,
    fresh_node,
    peer_mac,
    peer_subnet_bytes,
)
from benchmarks.floor import Layout, floor
from benchmarks.kernel_watch import KernelWatch, flush_routes
from benchmarks.percentiles import Percentiles, percentiles
from benchmarks.store_latency import store_latency
from flannel_sdk.cli.tables import Column, print_table
from flannel_sdk.errors import ConfigError
from flannel_sdk.netns import run_in_netns

CONFIG = '{"Network": "10.0.0.0/8", "Backend": {"Type": "vxlan"}}'
ROUNDS = 3
SIZES = (100, 1_000, 10_000, 50_000)


@dataclass(frozen=True, slots=True)
class Figures:
    """One size's figures; times in seconds unless a name says otherwise."""

    peers: int
    floor: float
    floor_with_nexthops: float
    start_to_kernel: float
    snapshot_to_kernel: float
    restart: float
    restart_written: int
    added_ms: tuple[float, float]
    changed_ms: tuple[float, float]
    removed_ms: tuple[float, float]
    store_ms: tuple[float, float]
    routes_flushed: float
    device_deleted: float
    peak_rss_mib: float


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a daemon with nothing in the kernel, and the floor measured beside it."""

    floor: float
    floor_with_nexthops: float
    start_to_kernel: float
    snapshot_to_kernel: float


def measure(peers: int, events: int) -> Figures:
    """All figures of one size; those of a start are medians of several."""
    starts = [measure_start(peers) for _ in range(ROUNDS)]

    def middle(field: str) -> float:
        return statistics.median(float(getattr(start, field)) for start in starts)

    with full_node(peers) as (node, table):
        with running(node) as daemon:
            daemon.wait_settled(peers)
        with running(node) as daemon:
            again = daemon.wait_settled(peers)
            restart = again["feed"]["convergence"]["first"][1] - daemon.started_at
            added, changed, removed = event_latencies(node, table, peers + 1, events)
            flushed = repair_after(node, daemon, peers, lambda: flush(node, peers))
            deleted = repair_after(node, daemon, peers, lambda: node.ip("link del flannel.1"))
            peak = daemon.peak_rss()
        return Figures(
            peers=peers,
            floor=middle("floor"),
            floor_with_nexthops=middle("floor_with_nexthops"),
            start_to_kernel=middle("start_to_kernel"),
            snapshot_to_kernel=middle("snapshot_to_kernel"),
            restart=restart,
            restart_written=int(again["dataplane"]["written"]),
            added_ms=added,
            changed_ms=changed,
            removed_ms=removed,
            store_ms=store_latency(node.folder / "latency.db", min(events, 300)),
            routes_flushed=flushed,
            device_deleted=deleted,
            peak_rss_mib=peak,
        )


def measure_start(peers: int) -> Start:
    """Floor, start, floor: what the machine does to one it does to the others."""
    with full_node(peers) as (node, _):
        nexthops = floor(peers, 256, Layout.NEXTHOP)
        with running(node) as daemon:
            begin, end = daemon.wait_settled(peers)["feed"]["convergence"]["first"]
            return Start(floor(peers, 256), nexthops, end - daemon.started_at, end - begin)


@contextmanager
def full_node(peers: int) -> Iterator[tuple[Node, PeerTable]]:
    """A fresh node and a store with ``peers`` peers in it."""
    with (
        tempfile.TemporaryDirectory(prefix="flannel-bench-") as folder,
        fresh_node(Path(folder)) as node,
    ):
        put_config(node)
        table = PeerTable(node.store)
        table.fill(peers)
        try:
            yield node, table
        finally:
            table.close()


@contextmanager
def running(node: Node) -> Iterator[Daemon]:
    """A daemon for the time of the block."""
    daemon = Daemon(node)
    try:
        yield daemon
    finally:
        daemon.stop()


def put_config(node: Node) -> None:
    """Put the network's configuration into the node's store, which makes it."""
    subprocess.run(
        [
            *(sys.executable, "-m", "flannel_sdk.cli", "config", "put", "-"),
            *("--store", "sqlite", "--store-option", f"path={node.store}"),
        ],
        input=CONFIG,
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )


@contextmanager
def watching(node: Node) -> Iterator[KernelWatch]:
    """An onlooker inside the node's namespace."""
    watch = run_in_netns(f"/run/netns/{node.netns}", KernelWatch)
    try:
        yield watch
    finally:
        watch.close()


def event_latencies(
    node: Node, table: PeerTable, number: int, events: int
) -> tuple[Percentiles, Percentiles, Percentiles]:
    """p50 and p99 in ms of a store write until the kernel has it: added, changed, removed."""
    added, changed, removed = [], [], []
    subnet = peer_subnet_bytes(number)
    with watching(node) as watch:
        for generation in range(0, 2 * events, 2):
            watch.drain()
            begin = time.monotonic()
            table.put(number, generation)
            added.append(watch.wait_route(subnet) - begin)
            begin = time.monotonic()
            table.put(number, generation + 1)
            changed.append(watch.wait_fdb(peer_mac(number, generation + 1)) - begin)
            begin = time.monotonic()
            table.delete(number)
            removed.append(watch.wait_route(subnet, gone=True) - begin)
    return percentiles(added), percentiles(changed), percentiles(removed)


def flush(node: Node, peers: int) -> None:
    """Delete the routes to all peers."""
    subnets = [peer_subnet_bytes(number) for number in range(1, peers + 1)]
    run_in_netns(f"/run/netns/{node.netns}", lambda: flush_routes(subnets))


def repair_after(node: Node, daemon: Daemon, peers: int, damage: Callable[[], None]) -> float:
    """Seconds from ``damage`` until the routes to all peers are back."""
    with watching(node) as watch:
        begin = time.monotonic()
        damage()
        back = watch.wait_routes(peers)
    daemon.wait_settled(peers)
    return back - begin


def rows(figures: list[Figures]) -> Iterator[list[object]]:
    """The table's rows, with what each has to reach."""

    def row(what: str, goal: str, cells: list[str]) -> list[object]:
        return [what, *cells, goal]

    def both(times: tuple[float, float]) -> str:
        return f"{times[0]:.1f} / {times[1]:.1f}"

    yield row("(a) floor, s", "", [f"{f.floor:.3f}" for f in figures])
    yield row(
        "    with nexthop objects, s",
        "",
        [f"{f.floor_with_nexthops:.3f}" for f in figures],
    )
    yield row("(b) start to kernel, s", "", [f"{f.start_to_kernel:.3f}" for f in figures])
    yield row("(c) snapshot to kernel, s", "", [f"{f.snapshot_to_kernel:.3f}" for f in figures])
    yield row(
        "    (c) / floor",
        "<= 2 at 10,000 and 50,000",
        [f"{f.snapshot_to_kernel / f.floor:.2f}" for f in figures],
    )
    yield row(
        "    (c) / that with nexthops",
        "",
        [f"{f.snapshot_to_kernel / f.floor_with_nexthops:.2f}" for f in figures],
    )
    yield row(
        "    (b) - (c), s",
        "<= 0.35",
        [f"{f.start_to_kernel - f.snapshot_to_kernel:.3f}" for f in figures],
    )
    yield row("(d) restart, s", "<= 0.5 at 10,000", [f"{f.restart:.3f}" for f in figures])
    yield row("    written by it", "0", [str(f.restart_written) for f in figures])
    for name, field in (
        ("added", "added_ms"),
        ("changed", "changed_ms"),
        ("removed", "removed_ms"),
    ):
        yield row(
            f"(e) peer {name}, p50 / p99 ms",
            "p99 <= 10 beyond the store",
            [both(getattr(f, field)) for f in figures],
        )
    yield row("    the store alone, ms", "", [both(f.store_ms) for f in figures])
    yield row("(f) routes flushed, s", "<= 2 x (c)", [f"{f.routes_flushed:.3f}" for f in figures])
    yield row("(f) device deleted, s", "<= 2 x (c)", [f"{f.device_deleted:.3f}" for f in figures])
    yield row(
        "(g) peak RSS, MiB",
        "<= 60 at 1,000, 120 at 10,000",
        [f"{f.peak_rss_mib:.0f}" for f in figures],
    )


def main() -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="N")
    parser.add_argument("--events", type=int, default=1000, help="store writes of each kind in (e)")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/bench.json"))
    parser.add_argument("--etcd", action="store_true", help="the etcd store alone: (h) to (k)")
    parser.add_argument("--kube", action="store_true", help="the kube store alone: (l) to (o)")
    parser.add_argument("--no-etcd", action="store_true", help="all but the etcd store")
    parser.add_argument("--no-kube", action="store_true", help="all but the kube store")
    args = parser.parse_args()
    chosen = args.etcd or args.kube
    if not chosen:
        run_kernel(args)
    if args.etcd or not (chosen or args.no_etcd):
        run_etcd(args)
    if args.kube or not (chosen or args.no_kube):
        run_kube(args)
    return 0


def run_kernel(args: argparse.Namespace) -> None:
    """(a) to (g)."""
    figures = []
    for peers in args.sizes:
        print(f"measuring {peers} peers ..", file=sys.stderr, flush=True)
        figures.append(measure(peers, args.events))
    columns: list[str | Column] = ["what", *(Column(f"{f.peers:,}", True) for f in figures), "goal"]
    print_table(columns, rows(figures))
    write_figures(args.json, [asdict(f) for f in figures])


def run_etcd(args: argparse.Namespace) -> None:
    """(h) to (k), where there is an etcd to be found."""
    from benchmarks.etcd import SIZES as ETCD_SIZES
    from benchmarks.etcd import measure_etcd, print_etcd

    sizes = args.sizes if args.sizes != list(SIZES) else list(ETCD_SIZES)
    print("measuring the etcd store ..", file=sys.stderr, flush=True)
    try:
        figures = measure_etcd(sizes, args.events)
    except ConfigError as error:
        print(f"the etcd store is not measured: {error}", file=sys.stderr)
        return
    print_etcd(figures)
    write_figures(args.json.with_name(f"{args.json.stem}-etcd.json"), asdict(figures))


def run_kube(args: argparse.Namespace) -> None:
    """(l) to (o), where there is an API server to be found."""
    from benchmarks.kube import NODES, measure_kube, print_kube

    nodes = args.sizes[-1] if args.sizes != list(SIZES) else NODES
    print("measuring the kube store ..", file=sys.stderr, flush=True)
    try:
        figures = measure_kube(nodes, args.events)
    except ConfigError as error:
        print(f"the kube store is not measured: {error}", file=sys.stderr)
        return
    print_kube(figures)
    write_figures(args.json.with_name(f"{args.json.stem}-kube.json"), asdict(figures))


def write_figures(path: Path, figures: object) -> None:
    """As JSON, for comparing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {path}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
