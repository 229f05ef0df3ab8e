"""The kernel objects that a backend declares, as frozen values."""

from typing import NamedTuple

from flannel_sdk.model import IPAddress, MacAddress, Prefix


class Device(NamedTuple):
    """A network device of this node, always up."""

    name: str
    kind: str
    """The kernel's link kind, for example ``vxlan``; ``tun`` is one that outlives its makers."""
    mtu: int
    """Bytes."""
    mac: MacAddress | None
    """None keeps whatever the device has, or lets the kernel choose."""
    lower: str | None = None
    """Name of the device it rides on; its index is looked up when the device is made."""
    attributes: tuple[tuple[str, object], ...] = ()
    """Attributes of the kind in pyroute2's short names: ``("vxlan_id", 1)``. Those named here are
    compared with a device that exists; any difference remakes it. None: must not be set."""


class InterfaceAddress(NamedTuple):
    """An address of a device of this node."""

    device: str
    address: Prefix


class Neighbour(NamedTuple):
    """A permanent ARP or ND entry; its key is device and address."""

    device: str
    address: IPAddress
    mac: MacAddress


class FdbEntry(NamedTuple):
    """A permanent forwarding entry of a vxlan device itself; its key is device and MAC."""

    device: str
    mac: MacAddress
    destination: IPAddress
    """The underlay address of the node behind that MAC."""


BLACKHOLE = "(blackhole)"
"""In place of a route's device: what is sent there is dropped, where no other route takes it."""


class Route(NamedTuple):
    """A unicast route of the main table; its key is the destination.

    With ``BLACKHOLE`` for its device it is a blackhole, which loses against every other route.
    """

    destination: Prefix
    device: str
    gateway: IPAddress | None
    """None for a destination that is on the link."""
    onlink: bool = False
    """True: take the gateway as reachable on the device whatever the addresses say."""
    metric: int = 0
    """0: that of ``metrics.metric_of`` where there is an IPv4 gateway, else the default."""


class ResolvedRoute(NamedTuple):
    """What the kernel answers when asked for the way to one address."""

    device: str
    gateway: IPAddress | None
    nexthops: int
    """How many ways there are; 1 but for multipath routes."""


PeerObject = Neighbour | FdbEntry | Route
"""What a peer may need."""

KernelObject = Device | InterfaceAddress | Neighbour | FdbEntry | Route
"""Anything that a node may need."""
