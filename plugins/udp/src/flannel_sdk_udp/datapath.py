"""The contract of the two data paths, and what they share: peers, counters, the tunnel's facts.

The network owns the TUN device (persistent, so that it and what hangs on it outlive a process), its
address and the route of the network, all through the reconciler; the peers; and one userspace path,
which always runs. With ``Datapath: kernel`` a second path takes packets before they reach the TUN
device's queue and the UDP socket, and leaves to those, and so to the userspace path, what it does
not carry itself: unknown destinations, TTLs that expire, packets too big, IP options and fragments
it cannot serve. What it counts is what it carried or dropped itself; what it leaves it does not
count.

Order of calls: ``attach``, then ``update`` (the first with ``full``) and ``run`` at the same time,
``attach`` again whenever the device was remade, ``aclose`` at the end. All in one event loop.
"""

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import NamedTuple, Protocol

from flannel_sdk.errors import KernelRefused, PermanentError
from flannel_sdk.model import IPAddress, Prefix


class DatapathUnsupported(PermanentError):
    """This path cannot work here; the sentence says why and what to do. ``auto`` passes on."""


class DeviceGone(KernelRefused):
    """The TUN device was deleted under a path that runs: it has to be made and attached again."""


class Counter(IntEnum):
    """What each path counts, and its place in an array of 64-bit numbers.

    Packets and bytes are of the inner IPv4 packets as they are on the wire: each segment of a large
    one counts. Each packet that is not carried counts in exactly one of the rest.
    """

    SENT_PACKETS = 0
    SENT_BYTES = 1
    RECEIVED_PACKETS = 2
    RECEIVED_BYTES = 3
    DROPPED_NOT_IPV4 = 4
    """IPv6, or no IP packet at all, either way."""
    DROPPED_MALFORMED = 5
    """An IPv4 header that contradicts itself or the packet's length, either way."""
    DROPPED_NO_PEER = 6
    """To be sent, but the destination is in no peer's subnet."""
    DROPPED_TTL = 7
    """Its time to live ended here, either way."""
    DROPPED_UNKNOWN_SOURCE = 8
    """Received from an address that is no peer's public IP."""
    DROPPED_FOREIGN_SOURCE = 9
    """Received from a peer, but from an inner address outside that peer's subnets."""
    DROPPED_TOO_BIG = 10
    """To be sent, with DF, and bigger than the way to the peer carries."""
    DROPPED_SEND_FAILED = 11
    """The underlay did not take it: no route, no neighbour, a full queue."""


class Peer(NamedTuple):
    """Where the packets for one subnet go."""

    address: IPAddress
    """The public IP."""
    in_kernel: bool
    """Its kernel receives them, it says: large ones may come whole and without checksums.

    Between virtual devices (veth, virtio) they do, and a UDP socket cannot take them.
    """


class Tunnel(NamedTuple):
    """The facts that stay the same as long as a network is registered."""

    netns: str | None
    """Path of the network namespace, None for the process's own."""
    device: str
    """Name of the TUN device."""
    network: Prefix
    subnet: Prefix
    """Our own lease; its base address is the device's, and what we send ICMP from."""
    underlay: str
    """Name of the external interface."""
    source: IPAddress
    """The address of ours that datagrams leave from and come to."""
    port: int
    """UDP port, ours and every peer's."""
    mtu: int
    """Bytes of the largest inner packet: the underlay's MTU less 28."""


class Datapath(Protocol):
    """One way to carry the packets of a tunnel."""

    name: str
    """``kernel`` or ``userspace``."""

    async def attach(self) -> None:
        """Begin on the TUN device as it is now, or take over what an earlier process left there.

        Called again when the device was remade. What was taken over keeps carrying, with the peers
        it has, until the first full update. DatapathUnsupported where it cannot work at all,
        KernelError for what may heal.
        """
        ...

    async def update(
        self, changed: Mapping[Prefix, Peer], removed: Collection[Prefix], *, full: bool
    ) -> None:
        """Peers by subnet. Traffic to all others goes on meanwhile.

        ``full``: ``changed`` is all of them and ``removed`` is empty. Idempotent: what is set again
        stays, and ``removed`` may name what was never there. Returns when it holds.
        """
        ...

    async def run(self) -> None:
        """Keep it working until cancelled: follow neighbours and links, repair what others undo.

        Leaves what is in the kernel as it is when cancelled, so that a restart finds it. DeviceGone
        where the TUN device is gone; ``attach`` and ``run`` follow once it is there again.
        """
        ...

    def counters(self) -> Mapping[Counter, int]:
        """All counters so far, without I/O worth mentioning."""
        ...

    async def aclose(self) -> None:
        """Close descriptors and leave what is in the kernel; idempotent."""
        ...


class KernelDatapath(Datapath, Protocol):
    """The one that stays in the kernel; ``flannel_sdk_udp.ebpf.open_kernel_path(tunnel)`` makes it.

    Making it does no I/O. Where it is not wanted any more, ``remove`` is called in place of
    ``attach``: by a network on the same device that carries in userspace, and by ``retire``.
    """

    async def remove(self) -> None:
        """Take everything of it out of the kernel, from whatever process; fine if nothing is."""
        ...
