"""The iptables programs of a host: found, asked for their version, run one after another."""

import os
import re
import subprocess
from dataclasses import dataclass
from typing import Final, Literal

from flannel_sdk.errors import KernelRefused, PrivilegeError
from flannel_sdk.hostnet.firewall.rules import NO_RIGHT
from flannel_sdk.model import Family

Variant = Literal["nf_tables", "legacy"]
_NAMES: Final = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
_SYSTEM: Final = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where the programs are, also when a service's PATH does not say so."""
_PATIENCE: Final = 30.0
"""Seconds: somebody else may hold the lock of the tables."""
_RANDOM_FULLY: Final = (1, 6, 2)
"""The first version that knows --random-fully, and that waits for the lock in iptables-restore."""


@dataclass(frozen=True, slots=True)
class IptablesPrograms:
    """The programs of one variant for one family."""

    family: Family
    variant: Variant
    save: str
    restore: str
    version: tuple[int, ...]

    @property
    def fully_random(self) -> bool:
        """Whether they know --random-fully."""
        return self.version >= _RANDOM_FULLY

    def saved(self) -> str:
        """All tables that are in use, as text; blocks for tens of milliseconds."""
        return _run([self.save])

    def apply(self, text: str) -> None:
        """Change tables: each at once, without touching what ``text`` does not name.

        KernelRefused with the program's words where it fails, PrivilegeError without the right to.
        """
        waiting = ["-w", "5"] if self.version >= _RANDOM_FULLY else []
        _run([self.restore, "--noflush", *waiting], text)


def find_programs(family: Family, variant: Variant | None = None) -> IptablesPrograms | None:
    """The host's usual iptables, or those of one variant; None where there are none.

    Starts one process.
    """
    base = _NAMES[family]
    if variant is not None:
        suffix = "nft" if variant == "nf_tables" else "legacy"
        found = _at(family, f"{base}-{suffix}")
        if found is not None and found.variant == variant:
            return found
    usual = _at(family, base)
    return usual if usual is not None and variant in (None, usual.variant) else None


def _at(family: Family, name: str) -> IptablesPrograms | None:
    program, save, restore = _which(name), _which(f"{name}-save"), _which(f"{name}-restore")
    if program is None or save is None or restore is None:
        return None
    try:
        said = _run([program, "--version"])
    except KernelRefused:
        return None
    digits = re.search(r"v(\d+(?:\.\d+)*)", said)
    version = tuple(map(int, digits[1].split("."))) if digits else ()
    variant: Variant = "nf_tables" if "(nf_tables)" in said else "legacy"
    return IptablesPrograms(family, variant, save, restore, version)


def _which(name: str) -> str | None:
    for folder in f"{os.environ.get('PATH', '')}:{_SYSTEM}".split(":"):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    return None


def _run(command: list[str], text: str = "") -> str:
    program = os.path.basename(command[0])
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PATIENCE,
        )
    except OSError as error:
        raise KernelRefused(f"{program} cannot be run: {error.strerror}", error.errno or 0) from (
            error
        )
    except subprocess.TimeoutExpired as error:
        raise KernelRefused(f"{program} did not end within {_PATIENCE:.0f} s", 0) from error
    if done.returncode == 0:
        return done.stdout
    words = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
    if "Permission denied" in words or "must be root" in words:
        raise PrivilegeError(NO_RIGHT)
    raise KernelRefused(f"{program} failed: {words}", 0)
