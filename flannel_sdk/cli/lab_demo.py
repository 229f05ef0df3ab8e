"""``flannel-sdk lab demo``: build, ping, break one node, watch it heal, remove."""

import argparse
import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flannel_sdk.cli.lab_print import (
    duration,
    print_leases,
    print_matrix,
    print_step,
    progress,
    verdict,
)
from flannel_sdk.cli.lab_up import run_interruptible, spec_from
from flannel_sdk.cli.tables import print_json
from flannel_sdk.lab import Lab, LabError, Matrix
from flannel_sdk.lab.faults import find_fault
from flannel_sdk.lab.reports import NodeReport, report_nodes

_BROKEN_NODE = 1
_PATIENCE = 10.0
"""Seconds until a silent pair counts as lost."""


@dataclass(slots=True)
class _Story:
    """What the demo found out, in order; complete if nothing went wrong."""

    build_seconds: float = 0.0
    nodes: list[NodeReport] = field(default_factory=list)
    before: Matrix | None = None
    fault: str = ""
    heal_seconds: float = 0.0
    after: Matrix | None = None

    @property
    def good(self) -> bool:
        return all(m is not None and m.complete for m in (self.before, self.after))

    def to_json(self) -> dict[str, object]:
        return {
            "ok": self.good,
            "build_s": round(self.build_seconds, 3),
            "nodes": [node.to_json() for node in self.nodes],
            "pings": self.before.to_json() if self.before else None,
            "fault": self.fault,
            "healed_s": round(self.heal_seconds, 4),
            "pings_after": self.after.to_json() if self.after else None,
        }


def run_action(args: argparse.Namespace) -> int:
    """The whole demo; exit code 0 only if every pair answered before and after the fault."""
    return run_interruptible(_demo(args))


async def _demo(args: argparse.Namespace) -> int:
    spec, story = spec_from(args), _Story()
    tell = _silence if args.json else print_step
    start = time.monotonic()
    with progress(quiet=args.json) as say:
        lab = await Lab.up(spec, instance=args.name, progress=say)
    story.build_seconds = time.monotonic() - start
    try:
        shape = f"{spec.nodes} nodes, backend {spec.backend}, store {spec.store}"
        tell(f"{shape}: up in {duration(story.build_seconds)}")
        await _look(lab, story)
        if not args.json:
            _print_findings(story)
        await _break(lab, story, tell)
    finally:
        removed = await asyncio.shield(lab.down())
    tell(f"removed {removed.processes} processes and {len(removed.namespaces)} namespaces")
    if args.json:
        print_json(story.to_json())
    return 0 if story.good else 1


async def _look(lab: Lab, story: _Story) -> None:
    """The first answers include address resolution; the times shown are those of a second round."""
    story.before = await lab.wait_connected(_PATIENCE)
    if story.before.complete:
        story.before = await lab.ping()
    story.nodes = await report_nodes(lab)


def _print_findings(story: _Story) -> None:
    assert story.before is not None
    print_leases(story.nodes)
    print_matrix(story.before)
    print_step(verdict(story.before))


async def _break(lab: Lab, story: _Story, tell: Callable[[str], None]) -> None:
    fault = await find_fault(lab.spec, lab.names.node(_BROKEN_NODE))
    if fault is None:
        raise LabError(f"the backend {lab.spec.backend} has put nothing into the node to delete")
    story.fault = f"{fault.subject} of node {_BROKEN_NODE}"
    tell(f"deleting {story.fault} ...")
    start = time.monotonic()
    await fault.strike()
    struck = time.monotonic() - start
    story.after = await lab.wait_connected(_PATIENCE)
    story.heal_seconds = struck + story.after.elapsed
    if story.after.complete:
        total, later = len(story.after.results), duration(story.heal_seconds)
        tell(f"all {total} pairs answer again {later} later")
    else:
        tell(f"after {duration(_PATIENCE)}, {verdict(story.after)}")


def _silence(text: str) -> None:
    """Say nothing: the output is JSON."""
