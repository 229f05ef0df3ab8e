"""``flannel-sdk lab``: a cluster of network namespaces on this machine, one real daemon a node."""

import argparse
import importlib
from typing import Protocol, cast

from flannel_sdk.cli.lab_arguments import add_lab_arguments

_ACTION_MODULES = {
    "up": "flannel_sdk.cli.lab_up",
    "down": "flannel_sdk.cli.lab_up",
    "status": "flannel_sdk.cli.lab_look",
    "ping": "flannel_sdk.cli.lab_look",
    "logs": "flannel_sdk.cli.lab_look",
    "exec": "flannel_sdk.cli.lab_look",
    "demo": "flannel_sdk.cli.lab_demo",
}


class _ActionModule(Protocol):
    def run_action(self, args: argparse.Namespace) -> int: ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their flags."""
    add_lab_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do the action here with root's rights, else in a user namespace of one's own."""
    from flannel_sdk.lab.rights import has_lab_rights

    if not has_lab_rights():
        from flannel_sdk.cli.lab_rootless import run_rootless

        return run_rootless(args)
    return run_here(args)


def run_here(args: argparse.Namespace) -> int:
    """Do the action in the namespaces this process is in."""
    module = importlib.import_module(_ACTION_MODULES[args.action])
    return cast("_ActionModule", module).run_action(args)
