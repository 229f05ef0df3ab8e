"""Frozen values, and flannel's formats and arithmetic on them; no I/O."""

from flannel_sdk.model.addresses import ByFamily, Family, IPAddress, MacAddress, Prefix
from flannel_sdk.model.config import BackendOptions, NetworkConfig, SubnetPool
from flannel_sdk.model.lease import (
    ExternalInterface,
    Lease,
    LeaseAttrs,
    LeaseDelta,
    LeaseGone,
    LeaseHeld,
    LeaseSnapshot,
    LeaseState,
    Malformed,
    PeerUpdate,
    Subnets,
)

__all__ = [
    "BackendOptions",
    "ByFamily",
    "ExternalInterface",
    "Family",
    "IPAddress",
    "Lease",
    "LeaseAttrs",
    "LeaseDelta",
    "LeaseGone",
    "LeaseHeld",
    "LeaseSnapshot",
    "LeaseState",
    "MacAddress",
    "Malformed",
    "NetworkConfig",
    "PeerUpdate",
    "Prefix",
    "SubnetPool",
    "Subnets",
]
