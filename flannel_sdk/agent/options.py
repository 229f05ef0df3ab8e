"""What an agent is told, as typed options: flags, variables and Python fill the same fields."""

from dataclasses import dataclass, field
from pathlib import Path

from flannel_sdk.errors import ConfigError
from flannel_sdk.health.options import HealthOptions
from flannel_sdk.hostnet.external_interface import InterfaceRequest

DEFAULT_SUBNET_FILE = Path("/run/flannel/subnet.env")


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Options of one NodeAgent; every field has a default."""

    interface: InterfaceRequest = field(default_factory=InterfaceRequest)
    subnet_file: Path | None = None
    """Where subnet.env is written and the previous subnet is read; None for neither."""
    status_socket: Path | None = None
    """Where the agent answers ``flannel-sdk status``; None for nowhere."""
    renew_margin: float = 3600.0
    """Seconds before its expiry that the lease is renewed; more than 0, less than a day."""
    ip_masq: bool = False
    """What subnet.env says as FLANNEL_IPMASQ."""
    health: HealthOptions = field(default_factory=HealthOptions)
    netns: str | None = None
    """Path of the network namespace to work in; None for the process's own."""

    def __post_init__(self) -> None:
        if not 0 < self.renew_margin < 86400:
            raise ConfigError(
                "subnet-lease-renew-margin",
                f"subnet-lease-renew-margin is {self.renew_margin / 60:g} minutes, "
                "but has to be more than 0 and less than 1440",
            )
