"""``flannel-sdk cleanup``: remove the firewall rules that stay when a daemon stops."""

import argparse

from flannel_sdk.cli.tables import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.epilog = """\
A daemon leaves its masquerade and forward rules when it stops, so that the pods' traffic goes on.
On a host that leaves the network for good this removes them: tables of flannel-sdk and flanneld in
nftables, and flannel's chains in iptables, of all networks. A daemon that still runs puts its own
back. Devices, routes and leases are not touched.

exit code: 0, also when there was nothing to remove"""


def run(args: argparse.Namespace) -> int:
    """Remove them, and print what there was."""
    from flannel_sdk.hostnet.firewall.cleanup import remove_all

    removed = remove_all()
    if args.json:
        print_json(removed)
    elif removed:
        print("\n".join(f"removed: {name}" for name in removed))
    else:
        print("nothing to remove: this host has no firewall rules of flannel-sdk or flanneld")
    return 0
