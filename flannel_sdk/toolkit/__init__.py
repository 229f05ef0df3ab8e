"""Optional bases for backend authors; with them host-gw is under 60 lines.

A backend subclasses ``KernelNetwork`` for its Network, and writes ``register_network`` itself with
the functions beside it: read the options, ``open_kernel`` to make a device, ask for the lease with
what the device turned out to be, give the device its address, return the network.
"""

from flannel_sdk.toolkit.children import GRACE_SECONDS, ChildProcess, child_process
from flannel_sdk.toolkit.direct import DirectRoutes
from flannel_sdk.toolkit.network import KernelNetwork
from flannel_sdk.toolkit.refusals import Refusals
from flannel_sdk.toolkit.registration import (
    device_macs,
    enabled_public_ips,
    inner_mtu,
    is_station,
    kept_mac,
    network_ownership,
    tunnel_source,
    underlay_mtu,
)
from flannel_sdk.toolkit.session import KernelSession, open_kernel

__all__ = [
    "GRACE_SECONDS",
    "ChildProcess",
    "DirectRoutes",
    "KernelNetwork",
    "KernelSession",
    "Refusals",
    "child_process",
    "device_macs",
    "enabled_public_ips",
    "inner_mtu",
    "is_station",
    "kept_mac",
    "network_ownership",
    "open_kernel",
    "tunnel_source",
    "underlay_mtu",
]
