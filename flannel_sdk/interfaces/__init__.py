"""The contracts of flannel_sdk, all of them Protocols; what a plugin author reads first."""

from flannel_sdk.interfaces.backend import (
    Backend,
    BackendContext,
    BackendManager,
    BackendPlugin,
    LeaseAcquirer,
    Network,
    PeerFeed,
    PlannedChange,
    SupportsPlan,
    SupportsRetire,
    SupportsStatus,
)
from flannel_sdk.interfaces.store import (
    LabServer,
    SubnetManager,
    SubnetManagerPlugin,
    SupportsConfigWatch,
    SupportsConfigWrite,
    SupportsHolderNames,
    SupportsLabServer,
    SupportsLastHeard,
    SupportsNetworkReady,
    SupportsStoredPublicIPs,
)

CONTRACT_VERSION = 1
"""Raised when an existing plugin would break; a plugin of another version is refused at load."""

__all__ = [
    "CONTRACT_VERSION",
    "Backend",
    "BackendContext",
    "BackendManager",
    "BackendPlugin",
    "LabServer",
    "LeaseAcquirer",
    "Network",
    "PeerFeed",
    "PlannedChange",
    "SubnetManager",
    "SubnetManagerPlugin",
    "SupportsConfigWatch",
    "SupportsConfigWrite",
    "SupportsHolderNames",
    "SupportsLabServer",
    "SupportsLastHeard",
    "SupportsNetworkReady",
    "SupportsPlan",
    "SupportsRetire",
    "SupportsStatus",
    "SupportsStoredPublicIPs",
]
