"""``flannel-sdk lab status``, ``ping``, ``logs`` and ``exec``: looking at a lab that is up."""

import argparse
import asyncio
import math
import os
import shutil
import sys

from flannel_sdk.cli.lab_print import print_matrix, print_nodes, print_store, verdict
from flannel_sdk.cli.tables import print_json
from flannel_sdk.lab import Lab, LabError
from flannel_sdk.lab.reports import report_nodes, report_store
from flannel_sdk.lab.store import server_log

_LEAST_SIZE, _MOST_SIZE = 48, 65535
"""Bytes: an IPv6 header with an echo header, and what an IP length field can say."""


def run_action(args: argparse.Namespace) -> int:
    """Do ``args.action``."""
    lab = Lab.attach(instance=args.name)
    if args.action == "status":
        return _status(lab, args)
    if args.action == "ping":
        return _ping(lab, args)
    if args.action == "logs":
        return _logs(lab, args)
    return _exec(lab, args)


def _status(lab: Lab, args: argparse.Namespace) -> int:
    reports = asyncio.run(report_nodes(lab))
    if args.json:
        print_json(
            {
                "backend": lab.spec.backend,
                "store": report_store(lab).to_json(),
                "nodes": [r.to_json() for r in reports],
            }
        )
    else:
        print_nodes(reports)
        print_store(report_store(lab))
    return 0


def _ping(lab: Lab, args: argparse.Namespace) -> int:
    mtu = min((node.mtu for node in lab.state.nodes.values() if node.mtu), default=0)
    size = mtu if args.full_mtu else args.size
    if not _LEAST_SIZE <= size <= _MOST_SIZE:
        raise LabError(f"--size is {size}, but has to be from {_LEAST_SIZE} to {_MOST_SIZE} bytes")
    if not 0 < args.timeout < math.inf:
        raise LabError(f"--timeout is {args.timeout:g}, but has to be more than 0 seconds")
    matrix = asyncio.run(lab.ping(timeout=args.timeout, packet_bytes=size))
    if args.json:
        print_json(matrix.to_json())
    else:
        print_matrix(matrix)
        print(f"{verdict(matrix)}, packets of {size} bytes")
    return 0 if matrix.complete else 1


def _logs(lab: Lab, args: argparse.Namespace) -> int:
    if args.node == "store":
        log = server_log(lab.directory)
    else:
        number = _node_number(lab, args.node)
        log = lab.files(number).log
    if log.exists():
        with log.open(encoding="utf-8", errors="replace") as text:
            shutil.copyfileobj(text, sys.stdout)
    return 0


def _exec(lab: Lab, args: argparse.Namespace) -> int:
    name, _, rest = args.node.partition("-")
    if rest not in {"", "pod"}:
        name = args.node
    number = _node_number(lab, name, ", or 2-pod for the pod of node 2")
    netns = lab.names.pod(number) if rest else lab.names.node(number)
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not argv:
        raise LabError("lab exec needs a command: flannel-sdk lab exec 1 -- ip route")
    sys.stdout.flush()
    os.execvp("ip", ["ip", "netns", "exec", netns, *argv])


def _node_number(lab: Lab, text: str, others: str = "") -> int:
    if not text.isdigit():
        raise LabError(f"{text!r} is no node: give its number{others}")
    return lab.node(int(text)).number
