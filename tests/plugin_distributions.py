"""Small third-party distributions, written as an installer would leave them in site-packages."""

from collections.abc import Mapping
from pathlib import Path

BACKENDS = "flannel_sdk.backends"
STORES = "flannel_sdk.subnet_managers"

GOOD_BACKEND = """
from flannel_sdk.interfaces import CONTRACT_VERSION

class Plugin:
    contract_version = CONTRACT_VERSION
    def create(self, context):
        return ("backend for", context)

plugin = Plugin()
"""

GOOD_STORE = """
from dataclasses import dataclass
from flannel_sdk.interfaces import CONTRACT_VERSION

@dataclass(frozen=True)
class Options:
    path: str = ""

class Plugin:
    contract_version = CONTRACT_VERSION
    options_type = Options
    def open(self, options):
        return ("manager for", options)

plugin = Plugin()
"""

KEPT_STORE = """
from dataclasses import dataclass, field
from flannel_sdk.errors import ConfigError
from flannel_sdk.interfaces import CONTRACT_VERSION
from flannel_sdk.model import Secret

@dataclass(frozen=True)
class Options:
    members: tuple[str, ...] = field(
        default=(), metadata={"flag": "acme-members", "metavar": "A,B", "help": "At 100%."}
    )
    password: Secret | None = field(default=None, metadata={"flag": "acme-password"})
    depth: int = field(default=3, metadata={"help": "How deep."})
    eager: bool = field(default=False, metadata={"flag": "acme-eager"})
    host: str | None = field(default=None, metadata={"env": "ACME_HOST"})

class Plugin:
    contract_version = CONTRACT_VERSION
    options_type = Options
    def open(self, options):
        if options.members == ("wrong",):
            raise ConfigError("members", f"the options are wrong: {options}")
        return options

plugin = Plugin()
"""
"""Gives its options when it is opened; one of them is secret."""


def install(
    site: Path,
    distribution: str,
    entry_points: Mapping[str, str],
    *,
    source: str = GOOD_BACKEND,
    group: str = BACKENDS,
    version: str = "1.0",
) -> str:
    """Write ``distribution`` into ``site``; its one module, whose name is given, holds ``source``.

    ``entry_points`` maps a plugin's name to an attribute of that module.
    """
    module = distribution.replace("-", "_")
    (site / f"{module}.py").write_text(source)
    lines = [f"{name} = {module}:{attribute}" for name, attribute in entry_points.items()]
    write_metadata(site, distribution, version, f"[{group}]\n" + "\n".join(lines) + "\n")
    return module


def write_metadata(site: Path, distribution: str, version: str, entry_points: str) -> None:
    """Write the dist-info folder alone."""
    info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    )
    (info / "entry_points.txt").write_text(entry_points)
