"""Where health checks are answered, and how patient they are."""

from dataclasses import dataclass, field

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import option_metadata


@dataclass(frozen=True, slots=True)
class HealthOptions:
    """Where the agent's health is served over HTTP; nowhere by default."""

    ip: str = field(
        default="0.0.0.0",
        metadata=option_metadata("Where health is answered.", "ADDRESS", flag="healthz-ip"),
    )
    """A name or an address; empty, 0.0.0.0 and :: are all addresses of both families."""
    port: int = field(
        default=0,
        metadata=option_metadata(
            "Answer /healthz, /readyz and /metrics there; 0 for nowhere.",
            "PORT",
            flag="healthz-port",
        ),
    )
    """The TCP port; 0: nothing is served."""
    store_silence: float = 120.0
    """Seconds without a sign of life of the store after which the node is not ready."""
    missing: float = 30.0
    """Seconds that something of ours may be missing in the kernel before the node is not ready."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ConfigError(
                "healthz-port", f"healthz-port is {self.port}, but has to be from 0 to 65535"
            )
