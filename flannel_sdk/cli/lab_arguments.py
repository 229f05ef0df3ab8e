"""The flags of ``flannel-sdk lab`` and its actions."""

import argparse

from flannel_sdk.cli.store_arguments import add_store_option_file

_EPILOG = """\
Each node is a network namespace flannel-lab-N with a daemon of its own and one pod, the namespace
flannel-lab-N-pod. With --store etcd and no endpoints an etcd server runs in flannel-lab-router.
Without root the lab is built in a user namespace, where the kernel allows it.

examples:
  flannel-sdk lab demo --backend vxlan --nodes 3
  flannel-sdk lab demo --store etcd
  flannel-sdk lab up --nodes 4 --backend vxlan --backend-option DirectRouting=true --subnets 2
  flannel-sdk lab ping
  flannel-sdk lab exec 1 -- ip route
  flannel-sdk lab down"""


def add_lab_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them on the parser of ``lab``; the action's name becomes ``args.action``."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    up = _action(actions, "up", "build a lab, start its daemons and wait until all pods answer")
    _add_spec(up)
    status = _action(actions, "status", "the nodes: namespace, daemon, addresses, state")
    _add_json(status)
    ping = _action(actions, "ping", "ping between every pair of pods; exit code 1 if one is silent")
    _add_json(ping)
    ping.add_argument(
        "--timeout", type=float, default=2.0, metavar="SECONDS", help="default: %(default)s"
    )
    size = ping.add_mutually_exclusive_group()
    size.add_argument(
        "--size", type=int, default=84, metavar="BYTES", help="IP packet size (default: 84)"
    )
    size.add_argument("--full-mtu", action="store_true", help="packets as big as the pods' MTU")
    run = _action(actions, "exec", "run a command on a node: a number, or 2-pod for node 2's pod")
    run.add_argument("node", metavar="NODE")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD ...")
    logs = _action(actions, "logs", "what a node's daemon, or the store's server, printed")
    logs.add_argument("node", metavar="NODE|store")
    _action(actions, "down", "remove the lab, or what a crash left of it")
    demo = _action(actions, "demo", "build, ping, break one node, watch it heal, remove")
    _add_spec(demo)
    _add_json(demo)


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    parser.add_argument(
        "--name", default="", metavar="NAME", help="keeps several labs apart (default: none)"
    )
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def _add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--backend", default="vxlan", metavar="TYPE", help="default: %(default)s")
    parser.add_argument(
        "--backend-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a key of the network config's Backend object, repeatable: DirectRouting=true",
    )
    parser.add_argument(
        "--subnets",
        type=int,
        default=1,
        metavar="1|2",
        help="underlay subnets; 2 have a router between them (default: %(default)s)",
    )
    parser.add_argument(
        "--families", choices=["ipv4", "ipv6", "dual"], default="ipv4", help="default: ipv4"
    )
    parser.add_argument("--store", default="sqlite", metavar="NAME", help="default: %(default)s")
    parser.add_argument(
        "--store-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the store, repeatable",
    )
    add_store_option_file(parser)
