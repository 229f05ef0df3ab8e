"""``flannel-sdk doctor``: finds the layer that is broken, and what to do."""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from flannel_sdk.cli.status import add_socket_argument
from flannel_sdk.cli.tables import print_json, print_table

if TYPE_CHECKING:
    from flannel_sdk.doctor.findings import Report

_EPILOG = """\
Compares what the store holds, what the daemon makes of it, what the kernel holds and what packets
do, for every peer: pings over the underlay and through the overlay, small and of the full MTU,
UDP with its checksum left to the device and complete. Nothing is changed. Run it as root, where
the daemon runs.

exit codes:
  0  all is well; warnings do not count
  1  something is wrong; the first line of each finding says what
  2  wrong usage"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.epilog = _EPILOG
    add_socket_argument(parser)
    parser.add_argument(
        "--peer-healthz-port",
        type=int,
        metavar="PORT",
        help="where the peers' daemons answer /healthz; 0: not asked (default: as this node's)",
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="FILE", help="write a tar.gz for support, without secrets"
    )
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def run(args: argparse.Namespace) -> int:
    """Examine, print, and write the bundle if one is asked for."""
    from flannel_sdk.doctor.examination import Request, examine

    examination = asyncio.run(examine(Request(args.status_socket, args.peer_healthz_port)))
    report = examination.report
    if args.json:
        print_json(report.to_json())
    else:
        _print(report)
    if args.bundle is not None:
        from flannel_sdk.doctor.bundle import write_bundle

        write_bundle(args.bundle, examination)
        if not args.json:
            print(f"the bundle is in {args.bundle}; its README.txt says which logs to add")
    return 0 if report.healthy else 1


def _print(report: "Report") -> None:
    if report.peers:
        print_table(
            ["subnets", "public IP", "family", "underlay ms", "overlay ms", "full MTU", "UDP"],
            [
                [
                    ", ".join(peer.subnets),
                    path.public_ip,
                    path.family,
                    _milliseconds(path.underlay_seconds),
                    _milliseconds(path.tunnel_seconds),
                    path.full_mtu,
                    None if path.checksum_device is None else path.checksum_device != "silent",
                ]
                for peer in report.peers
                for path in peer.paths
            ],
        )
        print()
    for finding in report.ranked():
        where = f" [{finding.peer}]" if finding.peer else ""
        print(f"{finding.severity.value} {finding.layer.value}{where}: {finding.problem}")
        print(f"    {finding.fix}")
    if not report.findings:
        print(f"all is well: {len(report.peers)} peers")


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
