"""``flannel-sdk lab up`` and ``lab down``."""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Coroutine

from flannel_sdk.cli.lab_print import duration, print_nodes, progress, verdict
from flannel_sdk.cli.store_arguments import given_values
from flannel_sdk.lab import Families, Lab, LabNames, LabSpec
from flannel_sdk.lab.cleanup import clean_up
from flannel_sdk.lab.reports import report_nodes
from flannel_sdk.model.options import parse_backend_option


def run_action(args: argparse.Namespace) -> int:
    """Do ``args.action``."""
    if args.action == "up":
        return run_interruptible(_up(args))
    return asyncio.run(_down(args))


def run_interruptible(action: Coroutine[object, object, int]) -> int:
    """Its exit code. SIGTERM cancels as SIGINT does, so that an unfinished lab goes with us."""

    async def body() -> int:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await action

    try:
        return asyncio.run(body())
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM


def spec_from(args: argparse.Namespace) -> LabSpec:
    """The lab that the flags describe; ConfigError names the flag that is wrong."""
    return LabSpec(
        nodes=args.nodes,
        backend=args.backend,
        backend_options=dict(map(parse_backend_option, args.backend_option)),
        subnets=args.subnets,
        families=Families(args.families),
        store=args.store,
        store_options=given_values(args),
    )


async def _up(args: argparse.Namespace) -> int:
    start = time.monotonic()
    spec = spec_from(args)
    with progress() as say:
        lab = await Lab.up(spec, instance=args.name, progress=say)
        say("pinging every pair")
        matrix = await lab.wait_connected()
    print_nodes(await report_nodes(lab))
    print(f"up in {duration(time.monotonic() - start)}; {verdict(matrix)}")
    if not matrix.complete:
        hint = "host-gw does not cross subnets; " if spec.subnets > 1 else ""
        print(f"{hint}lab logs NODE tells more", file=sys.stderr)
    return 0


async def _down(args: argparse.Namespace) -> int:
    names = LabNames(args.name)
    removed = await clean_up(names, names.directory())
    if not removed.anything:
        print("no lab was up")
        return 0
    killed = f" ({removed.killed} had to be killed)" if removed.killed else ""
    print(
        f"removed the lab: {removed.processes} processes{killed},"
        f" {len(removed.namespaces)} namespaces"
    )
    return 0
