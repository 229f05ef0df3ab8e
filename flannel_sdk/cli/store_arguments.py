"""The flags that name a store and its options, the same for every command."""

import argparse
from collections.abc import Mapping, Sequence

from flannel_sdk.errors import ConfigError


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--store`` and ``--store-option``."""
    parser.add_argument(
        "--store",
        default="sqlite",
        metavar="NAME",
        help="where the network's configuration and leases are (default: %(default)s)",
    )
    parser.add_argument(
        "--store-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the store, repeatable; sqlite takes path=FILE",
    )


def store_values(pairs: Sequence[str]) -> Mapping[str, str]:
    """The ``KEY=VALUE`` texts as a mapping; the last of equal keys wins. ConfigError without =."""
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError("store-option", f"--store-option {pair!r} has to be KEY=VALUE")
        values[key] = value
    return values
