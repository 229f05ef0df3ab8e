"""``flannel-sdk conformance``: what of its contract an installed backend or store holds."""

import argparse

from flannel_sdk.engine import discovery
from flannel_sdk.testing.program import Request, judge

_EPILOG = """\
levels:
  0  it loads, and speaks this version of the contract
  1  without root: a kernel in memory for a backend, the store itself for a store
  2  a network namespace, or faults of a real server (root)
  3  two nodes, and packets between them (root)

examples:
  flannel-sdk conformance vxlan
  flannel-sdk conformance vxlan --option DirectRouting=true --level 1
  flannel-sdk conformance sqlite --store --report report.md

What each requirement is for is in the report, and in docs/conformance.md. In a project of your
own, subclass flannel_sdk.testing.BackendConformance, and pytest runs the same.

exit code: 0 if no requirement is broken, 1 if one is, 2 for wrong usage"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare whom to judge, and how."""
    parser.epilog = _EPILOG
    parser.add_argument("name", help="the backend, as in Backend.Type; see flannel-sdk plugins")
    parser.add_argument("--store", action="store_true", help="NAME is a store and not a backend")
    parser.add_argument(
        "--level",
        type=int,
        choices=range(4),
        default=3,
        help="the highest level to judge (default: all)",
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the backend or the store; repeatable",
    )
    parser.add_argument(
        "--no-dataplane",
        action="store_true",
        help="the backend leases a subnet, and puts nothing into the kernel",
    )
    parser.add_argument(
        "--report",
        action="append",
        default=[],
        metavar="FILE",
        help="write what holds to FILE, as JSON (.json) or Markdown (.md); repeatable",
    )
    parser.add_argument("--verbose", action="store_true", help="show where a requirement broke")


def run(args: argparse.Namespace) -> int:
    """Judge it."""
    group = discovery.STORES if args.store else discovery.BACKENDS
    if args.name.lower() not in discovery.plugin_names(group):
        discovery.load_plugin(group, args.name)  # raises the sentence that says what there is
    return judge(
        Request(
            kit="subnet-manager" if args.store else "backend",
            name=args.name,
            level=args.level,
            options=args.option,
            dataplane=not args.no_dataplane,
            reports=args.report,
            verbose=args.verbose,
        )
    )
