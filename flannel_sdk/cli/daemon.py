"""``flannel-sdk daemon``: one NodeAgent in the foreground, with signals, logs and exit codes."""

import argparse
import asyncio
import gc
import logging
import os
import signal
from collections.abc import Sequence

from flannel_sdk import __version__
from flannel_sdk.agent import AgentOptions, NodeAgent
from flannel_sdk.cli.log_options import LogOptions, start_logging
from flannel_sdk.cli.option_arguments import declare_options, told_options
from flannel_sdk.cli.service_manager import ServiceManager
from flannel_sdk.cli.store_arguments import (
    add_chosen_store_arguments,
    add_store_arguments,
    exposed_secrets,
    open_chosen_store,
    unused_flags,
)
from flannel_sdk.cli.wrong_usage import exit_code
from flannel_sdk.errors import FlannelError
from flannel_sdk.interfaces import SubnetManager

_log = logging.getLogger(__name__)

GO_FLAGS = True

_EPILOG = """\
Joins this node to the network whose configuration is in the store, and keeps it joined. A problem
that can heal by itself is waited out and said once a minute; any other ends the daemon.

examples:
  flannel-sdk daemon --etcd-endpoints http://192.0.2.1:2379,http://192.0.2.2:2379 --iface eth0
  flannel-sdk daemon --kube-subnet-mgr --kubeconfig-file /etc/kubernetes/flannel.conf --ip-masq
  flannel-sdk daemon --store sqlite --store-option path=/var/lib/flannel/net.db
  flannel-sdk daemon --store sqlite --help

Flags are flanneld's, with one dash or two, and a value after = or as the next word; a flag of yes
or no takes its value after = only. What the command line leaves open is taken from the variables
that flanneld reads: FLANNELD_ETCD_ENDPOINTS for --etcd-endpoints, and so on, one value each.
Unlike flanneld, a value that cannot be is refused, on the command line and in a variable.

exit codes:
  0  stopped by SIGTERM or SIGINT; the data plane stays as it is
  1  something has to be changed first, in the store or on this host; the last line says what
  2  wrong usage: a flag, a variable or one of their values"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the agent's options."""
    parser.epilog = _EPILOG
    add_store_arguments(parser)
    declare_options(parser, AgentOptions)
    declare_options(parser, LogOptions)
    parser.add_argument(
        "--verbose", action="append_const", const="1", dest="flag_v", help="the same as -v"
    )
    parser.add_argument("--version", action="version", version=f"flannel-sdk {__version__}")


def add_chosen_arguments(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the flags of the chosen store."""
    add_chosen_store_arguments(parser, words, os.environ)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    log = told_options(LogOptions, args, os.environ)
    start_logging(log)
    try:
        options = told_options(AgentOptions, args, os.environ)
        store = open_chosen_store(args, os.environ)
        for flag in unused_flags(args):
            _log.warning("%s has no effect on the store %s", flag, args.store)
        for option, instead in exposed_secrets(args):
            _log.warning(
                "%s is on the command line, where anybody can read it: %s", option, instead
            )
        asyncio.run(_serve(store, options))
    except FlannelError as error:
        if log.format != "json":
            raise
        _log.error("%s", error)  # the last line, too, is one that a program reads
        return exit_code(error)
    return 0


async def _serve(store: SubnetManager, options: AgentOptions) -> None:
    """Run the agent until it fails or the first signal; a second signal kills the process."""
    loop = asyncio.get_running_loop()
    node = NodeAgent(store, options)
    agent = asyncio.create_task(node.run(), name="agent")
    manager = ServiceManager(os.environ)
    beside = [
        asyncio.create_task(_collect_late(node), name="garbage collection"),
        asyncio.create_task(_tell_ready(manager, node), name="service manager"),
    ]

    def stop(number: signal.Signals) -> None:
        for handled in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(handled)
        _log.info("%s: stopping; the data plane stays", number.name)
        manager.tell("STOPPING=1", "STATUS=stopping; the data plane stays")
        agent.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await asyncio.wait([agent])
        if not agent.cancelled():
            agent.result()
    finally:
        for task in beside:
            task.cancel()
        await store.aclose()


async def _tell_ready(manager: ServiceManager, node: NodeAgent) -> None:
    """Tell it when the network is there, and from the start on that we are alive."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(manager.keep_alive())
        network = await node.wait_registered()
        subnets = " ".join(str(subnet) for _, subnet in network.lease.subnets.items_by_family())
        manager.tell("READY=1", f"STATUS=this node has {subnets}")


async def _collect_late(node: NodeAgent) -> None:
    """A big first snapshot is no garbage: looking for some in it took a fifth of a start.

    What it made is then left alone while the daemon runs, and collections go on as they were. At
    the end all is as it was before.
    """
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(1_000_000, *usual[1:])
    try:
        await node.wait_converged()
        gc.freeze()
        gc.set_threshold(*usual)
        await asyncio.Event().wait()
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()
