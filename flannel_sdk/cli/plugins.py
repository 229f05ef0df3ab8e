"""``flannel-sdk plugins``: what is installed, and why something of it cannot be used."""

import argparse
from dataclasses import asdict

from flannel_sdk.cli.tables import Column, print_json, print_table
from flannel_sdk.engine import discovery
from flannel_sdk.interfaces import CONTRACT_VERSION

_KIND = {discovery.BACKENDS: "backend", discovery.STORES: "store"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.epilog = f"""\
Each plugin is imported to see whether it works; this flannel-sdk needs plugins of contract
version {CONTRACT_VERSION}. Plugins are installed with pip: pip install flannel-sdk-vxlan

exit code: 0, also when a plugin cannot be used; --json gives null as "problem" where it can"""


def run(args: argparse.Namespace) -> int:
    """List the plugins of all groups."""
    plugins = [plugin for group in discovery.GROUPS for plugin in discovery.list_plugins(group)]
    if args.json:
        print_json([asdict(plugin) for plugin in plugins])
        return 0
    print_table(
        ["kind", "name", "distribution", "version", Column("contract", right=True), "state"],
        [
            (
                _KIND[plugin.group],
                plugin.name,
                plugin.distribution,
                plugin.version,
                plugin.contract_version,
                plugin.problem or "ok",
            )
            for plugin in plugins
        ],
    )
    return 0
