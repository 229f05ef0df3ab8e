"""How ``flannel-sdk lab`` tells people what it does and finds: progress, nodes, pings."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest

from flannel_sdk.cli.tables import Column, print_table, remaining
from flannel_sdk.lab.ping import Matrix
from flannel_sdk.lab.reports import NodeReport, StoreReport
from flannel_sdk.model import Family

_WIDEST_MATRIX = 12
_MOST_NAMED = 10


@contextmanager
def progress(quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A function to say what happens next: a spinner on a terminal, else lines on stderr."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("building a lab") as status:
            yield lambda text: status.update(f"{text} ...")
    else:
        yield lambda text: print(f"{text} ...", file=sys.stderr)


def print_nodes(reports: Sequence[NodeReport]) -> None:
    """The table of ``lab status``; a row for each family of a node."""
    print_table(
        ["node", "netns", Column("pid", right=True), "underlay", "subnet", "pod", "state"],
        [
            (report.node, report.netns, report.pid, underlay, subnet, pod, report.state)
            for report in reports
            for underlay, subnet, pod in _by_family(report)
        ],
    )


def print_store(report: StoreReport) -> None:
    """The last line of ``lab status``."""
    options = "".join(f" {key}={value}" for key, value in report.options.items())
    pid = "" if report.pid is None else f", pid {report.pid}"
    server = "" if report.server is None else f"; its server is {report.server}{pid}"
    print(f"store {report.store}{options}{server}")


def print_leases(reports: Sequence[NodeReport]) -> None:
    """Who leased what; a row for each family of a node."""
    print_table(
        ["node", "public IP", "subnet", "pod", Column("MTU", right=True), "expires"],
        [
            (report.node, underlay, subnet, pod, report.mtu, _lease_end(report))
            for report in reports
            for underlay, subnet, pod in _by_family(report)
        ],
    )


def print_matrix(matrix: Matrix) -> None:
    """Round-trip times from each pod (row) to each other one (column), a table for each family."""
    nodes = sorted({result.pair.source for result in matrix.results})
    for family in Family:
        cells = {
            (r.pair.source, r.pair.destination): _milliseconds(r.round_trip)
            for r in matrix.results
            if r.pair.family is family
        }
        if not cells:
            continue
        if len(nodes) > _WIDEST_MATRIX:
            print(f"{family}: {_range(matrix, family)}")
            continue
        print_table(
            [f"{family}, ms", *(Column(f"to {node}", right=True) for node in nodes)],
            [(f"from {a}", *(cells.get((a, b), "") for b in nodes)) for a in nodes],
        )


def verdict(matrix: Matrix) -> str:
    """One line: did all pairs answer, and if not, which did not."""
    total = len(matrix.results)
    if matrix.complete:
        return f"all {total} pairs answered"
    silent = matrix.silent
    several = len({pair.family for pair in silent}) > 1
    names = [
        f"{pair.source} -> {pair.destination}" + (f" ({pair.family})" if several else "")
        for pair in silent[:_MOST_NAMED]
    ]
    more = f" and {len(silent) - _MOST_NAMED} more" if len(silent) > _MOST_NAMED else ""
    return f"{len(silent)} of {total} pairs are silent: {', '.join(names)}{more}"


def print_step(text: str) -> None:
    """A line between tables; bold on a terminal."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.text import Text

        Console().print(Text(text, style="bold"))
    else:
        print(text)


def duration(seconds: float) -> str:
    """``8 ms`` or ``1.3 s``."""
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _lease_end(report: NodeReport) -> str:
    return remaining(report.lease_expires, permanent=report.lease_permanent)


def _range(matrix: Matrix, family: Family) -> str:
    times = sorted(
        result.round_trip
        for result in matrix.results
        if result.pair.family is family and result.round_trip is not None
    )
    if not times:
        return "no answer"
    low, median, high = times[0], times[len(times) // 2], times[-1]
    return f"{_milliseconds(low)} to {_milliseconds(high)} ms, median {_milliseconds(median)} ms"


def _milliseconds(seconds: float | None) -> str:
    return "silent" if seconds is None else f"{seconds * 1e3:.2f}"


def _by_family(report: NodeReport) -> Iterator[tuple[str, str, str]]:
    """Underlay address, subnet and pod address; the latter two empty until there is a lease."""
    underlay = [address.partition("/")[0] for address in report.underlay]
    yield from zip_longest(underlay, report.subnets, report.pod, fillvalue="")
