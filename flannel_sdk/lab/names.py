"""What a lab's namespaces, links and files are called; an instance name keeps labs apart."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from flannel_sdk.errors import ConfigError

NETNS_DIRECTORY = Path("/run/netns")
DIRECTORY_VARIABLE = "FLANNEL_LAB_DIR"
OWNED_VARIABLE = "FLANNEL_LAB_OWNED"
"""In the environment of each process a lab starts, so that it is found: an ownership mark."""

UNDERLAY_LINK = "eth0"
"""A node's link to the underlay, and a pod's link to its node."""
POD_BRIDGE = "cni0"


def netns_path(name: str) -> str:
    """Where ``ip netns`` keeps the namespace called ``name``."""
    return str(NETNS_DIRECTORY / name)


@dataclass(frozen=True, slots=True)
class LabNames:
    """Names of everything in one lab; ``instance`` is empty for the lab people see by default."""

    instance: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"([a-z][a-z0-9]{0,15})?", self.instance):
            raise ConfigError(
                "name",
                f"the lab's name {self.instance!r} must be at most 16 lower-case letters and"
                " digits, a letter first",
            )

    @property
    def prefix(self) -> str:
        """What all namespaces of this lab begin with, the dash not included."""
        return f"flannel-lab-{self.instance}" if self.instance else "flannel-lab"

    @property
    def router(self) -> str:
        """The namespace that holds the underlay's bridges and routes between them."""
        return f"{self.prefix}-router"

    def node(self, number: int) -> str:
        """The namespace of node ``number``, counted from 1."""
        return f"{self.prefix}-{number}"

    def pod(self, number: int) -> str:
        """The namespace of the pod on node ``number``."""
        return f"{self.prefix}-{number}-pod"

    def owns(self, namespace: str) -> bool:
        """True if a namespace of this name can only be this lab's (never another instance's)."""
        return bool(re.fullmatch(re.escape(self.prefix) + r"-(router|\d+(-pod)?)", namespace))

    def leftovers(self) -> list[str]:
        """The namespaces of this lab that exist now, sorted."""
        try:
            present = os.listdir(NETNS_DIRECTORY)
        except FileNotFoundError:
            return []
        return sorted(filter(self.owns, present))

    def directory(self) -> Path:
        """Where the lab keeps its files: ``FLANNEL_LAB_DIR``, else a folder of its own in /run."""
        return Path(os.environ.get(DIRECTORY_VARIABLE) or f"/run/{self.prefix}").absolute()
