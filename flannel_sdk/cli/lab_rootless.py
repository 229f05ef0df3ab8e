"""``flannel-sdk lab`` without root: does the action again inside a user namespace.

``python -m flannel_sdk.cli.lab_rootless ARGS`` is what runs inside; ARGS are the parsed arguments.
"""

import argparse
import json
import sys

from flannel_sdk.cli.frame import PROGRAM
from flannel_sdk.cli.lab import run_here
from flannel_sdk.errors import FlannelError
from flannel_sdk.lab.names import LabNames
from flannel_sdk.lab.rootless import UserNamespace, end_user_namespace


def run_rootless(args: argparse.Namespace) -> int:
    """Do the action inside the lab's user namespace: ``up`` and ``demo`` make it."""
    namespace = UserNamespace(LabNames(args.name))
    if args.action == "down":
        there = namespace.holder() is not None
        ended = end_user_namespace(namespace)
        print(f"removed the lab: {ended} processes" if there or ended else "no lab was up")
        return 0
    makes_it = args.action in {"up", "demo"} and namespace.holder() is None
    if makes_it:
        namespace.begin()
    code = 1
    try:
        code = namespace.run(_inside(args))
    finally:
        if makes_it and (code or args.action == "demo"):
            end_user_namespace(namespace)
    return code


def _inside(args: argparse.Namespace) -> list[str]:
    values = json.dumps(vars(args))
    return [sys.executable, "-P", "-m", "flannel_sdk.cli.lab_rootless", values]


def _main() -> int:
    try:
        return run_here(argparse.Namespace(**json.loads(sys.argv[1])))
    except FlannelError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(_main())
