"""The network configuration: flannel's JSON, its defaults and arithmetic (flannel chapter 2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from typing_extensions import Self

from flannel_sdk.model.addresses import ByFamily, IPAddress, Prefix


@dataclass(frozen=True, slots=True)
class SubnetPool:
    """The subnets of one family that nodes may lease."""

    network: Prefix
    subnet_length: int
    """Prefix length of each lease's subnet, in bits."""
    first: IPAddress
    """Base address of the first subnet (SubnetMin, inclusive)."""
    last: IPAddress
    """Base address of the last subnet (SubnetMax, inclusive)."""


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """The ``Backend`` object, read by the backend through typed getters; keys in any case."""

    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A validated network configuration."""

    pools: ByFamily[SubnetPool]
    """One pool for each enabled family; at least one."""
    backend_type: str = "udp"
    """Lower case; as flannel's code: ``udp`` where there is no Backend."""
    backend_options: BackendOptions = field(default_factory=BackendOptions)
    enable_nftables: bool = False

    @classmethod
    def parse(cls, document: str | bytes) -> Self:
        """Read flannel's JSON; ConfigError names the key that is wrong."""
        raise NotImplementedError
