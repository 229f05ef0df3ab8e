"""What somebody asked a lab to be, and the addresses and network config that follow from it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import Family, IPAddress, Prefix

MAX_NODES = 250
POD_NETWORKS = {Family.IPV4: "10.5.0.0/16", Family.IPV6: "fd05::/48"}
_ROUTER_HOST = 254


class Families(Enum):
    """The address families of underlay and pods."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DUAL = "dual"

    @property
    def members(self) -> tuple[Family, ...]:
        """IPv4 first."""
        if self is Families.DUAL:
            return (Family.IPV4, Family.IPV6)
        return (Family.IPV4,) if self is Families.IPV4 else (Family.IPV6,)


@dataclass(frozen=True, slots=True)
class LabSpec:
    """A lab before it is built; ConfigError if it cannot be."""

    nodes: int = 3
    backend: str = "vxlan"
    backend_options: Mapping[str, object] = field(default_factory=dict)
    subnets: int = 1
    """Underlay subnets, 1 or 2; nodes take turns. The router routes between the two."""
    families: Families = Families.IPV4
    store: str = "sqlite"
    store_options: Mapping[str, str] = field(default_factory=dict)
    """Empty for sqlite: its file then lies in the lab's directory."""

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MAX_NODES:
            raise ConfigError("nodes", f"a lab has 1 to {MAX_NODES} nodes, not {self.nodes}")
        if self.subnets not in {1, 2}:
            raise ConfigError("subnets", f"a lab has 1 or 2 underlay subnets, not {self.subnets}")
        if self.store == "memory":
            raise ConfigError(
                "store", "the memory store serves one process only; a lab needs one that is shared"
            )

    def network_config(self) -> str:
        """flannel's JSON for this lab."""
        document: dict[str, object] = {}
        if Family.IPV4 in self.families.members:
            document["Network"] = POD_NETWORKS[Family.IPV4]
        else:
            document["EnableIPv4"] = False
        if Family.IPV6 in self.families.members:
            document["EnableIPv6"] = True
            document["IPv6Network"] = POD_NETWORKS[Family.IPV6]
        document["Backend"] = {"Type": self.backend, **self.backend_options}
        return json.dumps(document)

    def underlay_subnet(self, node: int) -> int:
        """The underlay subnet, 1 or 2, that node ``node`` (from 1) sits on."""
        return (node - 1) % self.subnets + 1

    def underlay_addresses(self, node: int) -> list[Prefix]:
        """The node's underlay addresses, one for each family."""
        subnet = self.underlay_subnet(node)
        return [_underlay(family, subnet, node) for family in self.families.members]

    def router_addresses(self, subnet: int) -> list[Prefix]:
        """The router's addresses on an underlay subnet; the nodes' default gateways."""
        return [_underlay(family, subnet, _ROUTER_HOST) for family in self.families.members]

    def to_json(self) -> dict[str, object]:
        """JSON-ready; ``from_json`` reads it back."""
        values = asdict(self)
        values["families"] = self.families.value
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "LabSpec":
        """The spec that ``to_json`` wrote; KeyError, TypeError or ValueError if it is none."""
        fields = dict(values)
        fields["families"] = Families(fields["families"])
        return cls(**fields)  # type: ignore[arg-type]  # our own file; wrong names raise TypeError


def _underlay(family: Family, subnet: int, host: int) -> Prefix:
    if family is Family.IPV4:
        return Prefix(IPAddress.parse(f"192.168.{100 + subnet}.{host}"), 24)
    return Prefix(IPAddress.parse(f"fd00:{100 + subnet}::{host}"), 64)
