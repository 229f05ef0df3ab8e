"""What is asked of this host's masquerade and forward rules (flannel 1.1, chapter 8)."""

import math
from dataclasses import dataclass, field
from typing import Literal

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import option_metadata

FirewallKind = Literal["auto", "nftables", "iptables"]


@dataclass(frozen=True, slots=True)
class FirewallOptions:
    """Which rules this node gets, and by what; none at all by default."""

    ip_masq: bool = field(
        default=False,
        metadata=option_metadata(
            "Masquerade what pods send out of the network; subnet.env says it as FLANNEL_IPMASQ.",
            "BOOL",
            flag="ip-masq",
        ),
    )
    ip_masq_fully_random_disable: bool = field(
        default=False,
        metadata=option_metadata(
            "Masquerade without fully random source ports.",
            "BOOL",
            flag="ip-masq-fully-random-disable",
        ),
    )
    iptables_resync: float = field(
        default=5.0,
        metadata=option_metadata(
            "Seconds between looks at the rules where nothing tells of their loss.",
            "SECONDS",
            flag="iptables-resync",
        ),
    )
    iptables_forward_rules: bool = field(
        default=False,
        metadata=option_metadata(
            "Accept in FORWARD what comes from the network and goes to it.",
            "BOOL",
            flag="iptables-forward-rules",
            daemon=True,
        ),
    )
    kind: FirewallKind = field(
        default="auto",
        metadata=option_metadata(
            "What makes the rules: nftables, iptables, or what fits this host and the network's"
            " configuration.",
            "KIND",
            flag="firewall",
        ),
    )

    def __post_init__(self) -> None:
        if not 0 < self.iptables_resync < math.inf:
            raise ConfigError(
                "iptables-resync",
                f"iptables-resync is {self.iptables_resync:g} seconds, but has to be more than 0",
            )
