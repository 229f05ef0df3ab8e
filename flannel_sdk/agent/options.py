"""What an agent is told, as typed options: flags, variables and Python fill the same fields."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from flannel_sdk.errors import ConfigError
from flannel_sdk.health.options import HealthOptions
from flannel_sdk.hostnet.firewall_options import FirewallOptions
from flannel_sdk.hostnet.interface_request import InterfaceRequest
from flannel_sdk.hostnet.run_files import DEFAULT_STATUS_SOCKET, DEFAULT_SUBNET_FILE
from flannel_sdk.model import option_metadata


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Options of one NodeAgent; every field has a default, and touches no more than it says.

    A field's metadata names its flag; ``daemon`` in it is the command line's default, where that
    is another than Python's.
    """

    interface: InterfaceRequest = field(default_factory=InterfaceRequest)
    subnet_file: Path | None = field(
        default=None,
        metadata=option_metadata(
            "Where subnet.env is written, and the previous subnet read; empty for neither.",
            "FILE",
            flag="subnet-file",
            daemon=DEFAULT_SUBNET_FILE,
        ),
    )
    """Where subnet.env is written and the previous subnet is read; None for neither."""
    status_socket: Path | None = field(
        default=None,
        metadata=option_metadata(
            "Where status, peers and plan ask; empty for nowhere.",
            "FILE",
            flag="status-socket",
            daemon=DEFAULT_STATUS_SOCKET,
        ),
    )
    """Where the agent answers ``flannel-sdk status``; None for nowhere."""
    renew_margin: float = field(
        default=3600.0,
        metadata=option_metadata(
            "Renew the lease so long before its expiry.",
            "MINUTES",
            flag="subnet-lease-renew-margin",
            unit=60.0,
        ),
    )
    """Seconds before its expiry that the lease is renewed; more than 0, less than a day."""
    interface_patience: float = field(
        default=math.inf,
        metadata=option_metadata(
            "Give up with code 1 where so long after the start no interface fits; inf for never.",
            "SECONDS",
            flag="iface-patience",
            daemon=10.0,
        ),
    )
    """Seconds that ``run`` waits for an interface before it raises PermanentError."""
    firewall: FirewallOptions = field(default_factory=FirewallOptions)
    ip_blackhole_route: bool = field(
        default=False,
        metadata=option_metadata(
            "Refuse what is sent to addresses of this node's subnets that no pod has.",
            "BOOL",
            flag="ip-blackhole-route",
        ),
    )
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
        if not self.interface_patience >= 0:
            raise ConfigError(
                "iface-patience",
                f"iface-patience is {self.interface_patience:g} seconds, but has to be 0 or more",
            )
