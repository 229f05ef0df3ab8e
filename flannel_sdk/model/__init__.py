"""Frozen values, and flannel's formats and arithmetic on them; no I/O."""

from flannel_sdk.model.addresses import ByFamily, Family, IPAddress, MacAddress, Prefix
from flannel_sdk.model.allocation import choose_subnets, compatible, is_same_node, pick_free
from flannel_sdk.model.config import NetworkConfig, SubnetPool
from flannel_sdk.model.entries import decode_entries, decode_entry
from flannel_sdk.model.lease import (
    UNKNOWN_EXPIRY,
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
from flannel_sdk.model.lease_json import decode_attrs, encode_attrs
from flannel_sdk.model.option_fields import option_metadata
from flannel_sdk.model.options import BackendOptions
from flannel_sdk.model.secret import Secret
from flannel_sdk.model.subnet_key import format_subnet_key, parse_subnet_key

__all__ = [
    "UNKNOWN_EXPIRY",
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
    "Secret",
    "SubnetPool",
    "Subnets",
    "choose_subnets",
    "compatible",
    "decode_attrs",
    "decode_entries",
    "decode_entry",
    "encode_attrs",
    "format_subnet_key",
    "is_same_node",
    "option_metadata",
    "parse_subnet_key",
    "pick_free",
]
