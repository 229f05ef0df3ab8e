"""Where one node's files lie inside the lab's directory; what its subnet.env says."""

from dataclasses import dataclass
from pathlib import Path

from flannel_sdk.model import Prefix

_SUBNET_KEYS = ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET")


@dataclass(frozen=True, slots=True)
class SubnetFile:
    """What a node's subnet.env says that its pods need."""

    gateways: tuple[Prefix, ...]
    """The first address of each of the node's subnets, IPv4 first; the pod bridge holds them."""
    mtu: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """Paths that belong to one node."""

    lab: Path
    """The lab's directory."""
    number: int

    @property
    def directory(self) -> Path:
        """The node's own folder."""
        return self.lab / f"node-{self.number}"

    @property
    def subnet_file(self) -> Path:
        """subnet.env as the daemon writes it."""
        return self.directory / "subnet.env"

    @property
    def status_socket(self) -> Path:
        """The daemon's unix socket."""
        return self.directory / "status.sock"

    @property
    def log(self) -> Path:
        """What the daemon printed, over all its runs."""
        return self.directory / "daemon.log"

    def read_subnet_file(self) -> SubnetFile | None:
        """What the daemon wrote; None until it has."""
        try:
            lines = self.subnet_file.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return None
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        gateways = tuple(Prefix.parse(values[key]) for key in _SUBNET_KEYS if key in values)
        return SubnetFile(gateways, int(values["FLANNEL_MTU"]))

    def log_tail(self, lines: int) -> str:
        """The last ``lines`` lines of the log; empty if there is none."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
