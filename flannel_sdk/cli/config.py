"""``flannel-sdk config``: the network's configuration in a store, shown or put."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from flannel_sdk.cli.store_arguments import (
    add_chosen_store_arguments,
    add_store_arguments,
    open_chosen_store,
)
from flannel_sdk.cli.tables import print_json, print_table
from flannel_sdk.errors import PermanentError
from flannel_sdk.interfaces import SupportsConfigWrite
from flannel_sdk.model import NetworkConfig

GO_FLAGS = True

_EPILOG = """\
examples:
  flannel-sdk config put net-conf.json --store sqlite --store-option path=/var/lib/flannel/net.db
  echo '{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}' |
    flannel-sdk config put - --etcd-endpoints http://192.0.2.1:2379
  flannel-sdk config show --store kube"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what to do and where."""
    parser.epilog = _EPILOG
    parser.add_argument("action", choices=["show", "put"])
    parser.add_argument("file", nargs="?", help="flannel's JSON to put; - for standard input")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    add_store_arguments(parser)


def add_chosen_arguments(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Declare the flags of the chosen store."""
    add_chosen_store_arguments(parser, words)


def run(args: argparse.Namespace) -> int:
    """Put the configuration, if asked to, and show what the store holds."""
    if args.action == "put" and args.file is None:
        print(
            "flannel-sdk config: put needs a file with flannel's JSON, or - for standard input",
            file=sys.stderr,
        )
        return 2
    config = asyncio.run(_put_or_show(args))
    rows = _rows(config)
    if args.json:
        print_json(dict(rows))
    else:
        print_table(["what", "value"], rows)
    return 0


async def _put_or_show(args: argparse.Namespace) -> NetworkConfig:
    store = open_chosen_store(args)
    try:
        if args.action == "show":
            return await store.get_network_config()
        if not isinstance(store, SupportsConfigWrite):
            raise PermanentError(f"the store {args.store} takes no configuration from here")
        return await store.put_network_config(_document(args.file))
    finally:
        await store.aclose()


def _document(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentError(f"cannot read {file}: {error}") from error


def _rows(config: NetworkConfig) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for family, pool in config.pools.items_by_family():
        rows.append((f"{family} network", str(pool.network)))
        rows.append(
            (f"{family} subnets", f"{pool.first} to {pool.last}, /{pool.subnet_length} each")
        )
    rows.append(("backend", config.backend_type))
    rows.extend((f"backend {key}", value) for key, value in config.backend_options.values.items())
    return rows
