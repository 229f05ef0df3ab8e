"""``flannel-sdk explain iface``: which underlay interface the daemon would take, and why."""

import argparse
import os

from flannel_sdk.cli.option_arguments import declare_options, told_options
from flannel_sdk.cli.tables import print_json, print_table
from flannel_sdk.hostnet.interface_explanation import Explanation, explain
from flannel_sdk.hostnet.interface_request import InterfaceRequest
from flannel_sdk.model import Family

GO_FLAGS = True

_FAMILIES = {
    "ipv4": (Family.IPV4,),
    "ipv6": (Family.IPV6,),
    "dual": (Family.IPV4, Family.IPV6),
}
_EPILOG = """\
Takes the daemon's flags and variables for the interface, and shows what each of them gives on this
host now. A daemon that runs keeps the interface it has as long as that fits: flannel-sdk status.

examples:
  flannel-sdk explain iface
  flannel-sdk explain iface --families dual --iface-regex '^192\\.0\\.2\\.' --iface eth1

exit codes:
  0  there is an interface
  1  there is none now; a daemon would wait for it
  2  wrong usage"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of the interface."""
    parser.epilog = _EPILOG
    parser.add_argument("subject", choices=["iface"], help="what to explain")
    parser.add_argument(
        "--families",
        choices=list(_FAMILIES),
        default="ipv4",
        help="those that the network's configuration enables (default: %(default)s)",
    )
    declare_options(parser, InterfaceRequest)
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def run(args: argparse.Namespace) -> int:
    """Explain."""
    request = told_options(InterfaceRequest, args, os.environ)
    explanation = explain(request, _FAMILIES[args.families])
    if args.json:
        print_json(explanation.to_json())
    else:
        _print(explanation)
    return 0 if explanation.chosen else 1


def _print(explanation: Explanation) -> None:
    print_table(
        ["interface", "MTU", "addresses", "verdict"],
        [
            [
                candidate.link.name,
                candidate.link.mtu,
                ", ".join(candidate.addresses),
                candidate.verdict,
            ]
            for candidate in explanation.candidates
        ],
    )
    chosen = explanation.chosen
    if chosen is None:
        print("\nno interface:", "; ".join(str(a.problem) for a in explanation.attempts))
    elif chosen.link is not None:
        told = ", ".join(str(address) for _, address in explanation.told.items_by_family())
        print(f"\n{chosen.link.name}, by {chosen.asked}; peers are told {told}")
