"""``flannel-sdk daemon``: one NodeAgent in the foreground, with signals, logs and exit codes."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from flannel_sdk.agent import AgentOptions, HealthOptions, InterfaceRequest, NodeAgent
from flannel_sdk.agent.options import DEFAULT_SUBNET_FILE
from flannel_sdk.cli.status import DEFAULT_STATUS_SOCKET
from flannel_sdk.cli.store_arguments import (
    add_chosen_store_arguments,
    add_store_arguments,
    open_chosen_store,
)
from flannel_sdk.errors import ConfigError
from flannel_sdk.interfaces import SubnetManager
from flannel_sdk.model import ByFamily, Family, IPAddress

_CHATTY = ("asyncio", "grpc", "aiohttp", "kubernetes", "urllib3", "oauthlib", "requests_oauthlib")
"""Their details are no details of ours, and some of them are tokens."""

_EPILOG = """\
Joins this node to the network whose configuration is in the store, and keeps it joined. A problem
that can heal by itself is waited out and said once a minute; any other ends the daemon.

examples:
  flannel-sdk daemon --store sqlite --store-option path=/var/lib/flannel/net.db --iface eth0
  flannel-sdk daemon --store sqlite --public-ip 192.0.2.10
  flannel-sdk daemon --store etcd --etcd-endpoints http://192.0.2.1:2379,http://192.0.2.2:2379
  flannel-sdk daemon --kube-subnet-mgr --kubeconfig-file /etc/kubernetes/flannel.conf
  flannel-sdk daemon --store etcd --help

Options of the store are also taken from the variables that flanneld reads, where the command line
does not give them: FLANNELD_ETCD_ENDPOINTS for --etcd-endpoints, and so on.

exit codes:
  0  stopped by SIGTERM or SIGINT; the data plane stays as it is
  1  something has to be changed first; the last line says what
  2  wrong usage"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the agent's options."""
    parser.epilog = _EPILOG
    add_store_arguments(parser)
    parser.add_argument("--iface", metavar="NAME|ADDRESS", help="underlay interface")
    parser.add_argument("--public-ip", metavar="ADDRESS", help="IPv4 address that peers are told")
    parser.add_argument("--public-ipv6", metavar="ADDRESS", help="IPv6 address that peers are told")
    parser.add_argument(
        "--subnet-file",
        type=Path,
        default=DEFAULT_SUBNET_FILE,
        metavar="FILE",
        help="where subnet.env is written (default: %(default)s)",
    )
    parser.add_argument(
        "--status-socket",
        type=Path,
        default=DEFAULT_STATUS_SOCKET,
        metavar="FILE",
        help="where status, peers and plan ask (default: %(default)s)",
    )
    parser.add_argument(
        "--subnet-lease-renew-margin",
        type=float,
        default=60,
        metavar="MINUTES",
        help="renew the lease so long before its expiry (default: %(default)s)",
    )
    parser.add_argument(
        "--healthz-ip", default="0.0.0.0", metavar="ADDRESS", help="where health is answered"
    )
    parser.add_argument(
        "--healthz-port",
        type=int,
        default=0,
        metavar="PORT",
        help="answer /healthz, /readyz and /metrics there (default: nowhere)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log details too")


def add_chosen_arguments(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the flags of the chosen store."""
    add_chosen_store_arguments(parser, words, os.environ)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.INFO)
    options = _options(args)
    store = open_chosen_store(args, os.environ)
    asyncio.run(_serve(store, options))
    return 0


def _options(args: argparse.Namespace) -> AgentOptions:
    public_ips = ByFamily(
        _address("public-ip", args.public_ip, Family.IPV4),
        _address("public-ipv6", args.public_ipv6, Family.IPV6),
    )
    return AgentOptions(
        interface=InterfaceRequest(args.iface, public_ips),
        subnet_file=args.subnet_file,
        status_socket=args.status_socket,
        health=HealthOptions(args.healthz_ip, args.healthz_port),
        renew_margin=args.subnet_lease_renew_margin * 60.0,
    )


def _address(flag: str, text: str | None, family: Family) -> IPAddress | None:
    if not text:
        return None
    try:
        address = IPAddress.parse(text)
    except ValueError as error:
        raise ConfigError(
            flag, f"--{flag} is {text!r}, which is not an {family} address"
        ) from error
    if address.family is not family:
        raise ConfigError(flag, f"--{flag} is {text!r}, which is not an {family} address")
    return address


async def _serve(store: SubnetManager, options: AgentOptions) -> None:
    """Run the agent until it fails or the first signal; a second signal kills the process."""
    loop = asyncio.get_running_loop()
    node = NodeAgent(store, options)
    agent = asyncio.create_task(node.run(), name="agent")
    collecting = asyncio.create_task(_collect_late(node), name="garbage collection")

    def stop(number: signal.Signals) -> None:
        for handled in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(handled)
        logging.getLogger(__name__).info("%s: stopping; the data plane stays", number.name)
        agent.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await asyncio.wait([agent])
        if not agent.cancelled():
            agent.result()
    finally:
        collecting.cancel()
        await store.aclose()


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
