"""Kernel objects, desired state, the reconciler, its netlink codec and sockets; knows no lease."""

from flannel_sdk.dataplane.kernel import LinuxKernel
from flannel_sdk.dataplane.objects import (
    BLACKHOLE,
    Device,
    FdbEntry,
    InterfaceAddress,
    KernelObject,
    Neighbour,
    PeerObject,
    ResolvedRoute,
    Route,
)
from flannel_sdk.dataplane.ownership import ROUTE_PROTOCOL, Ownership
from flannel_sdk.dataplane.protocol import Kernel
from flannel_sdk.dataplane.reconciler import Reconciler
from flannel_sdk.dataplane.tun import TUN, open_tun, tun_name

__all__ = [
    "BLACKHOLE",
    "ROUTE_PROTOCOL",
    "TUN",
    "Device",
    "FdbEntry",
    "InterfaceAddress",
    "Kernel",
    "KernelObject",
    "LinuxKernel",
    "Neighbour",
    "Ownership",
    "PeerObject",
    "Reconciler",
    "ResolvedRoute",
    "Route",
    "open_tun",
    "tun_name",
]
