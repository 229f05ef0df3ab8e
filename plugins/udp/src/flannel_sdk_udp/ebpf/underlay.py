"""What the programs have to know about the underlay's device (linux/if_link.h)."""

import socket
from struct import Struct
from typing import Final, NamedTuple

from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.messages import Buffer, attribute, attributes, message
from flannel_sdk.netlink.socket import RequestSocket

_LINK: Final = Struct("=BxHiII")
"""ifinfomsg: family, type, index, flags, change."""
_BUS: Final = 57
"""IFLA_PARENT_DEV_BUS_NAME, since Linux 5.14."""
_ETHERNET: Final = frozenset({1, 772})
_NO_LINK_HEADER: Final = frozenset({512, 519, 768, 776, 778, 0xFFFE})
"""ARPHRD_PPP, _RAWIP, _TUNNEL, _SIT, _IPGRE, _NONE."""
_VIRTUAL_BUSES: Final = frozenset({b"", b"virtio"})


class Underlay(NamedTuple):
    """One device."""

    ifindex: int
    link_header: int | None
    """Bytes before the IP header; None for a kind of link that we do not know."""
    wire: bool
    """What leaves it is cut into packets and has its checksums.

    Virtual devices (veth, virtio) hand large packets over whole and without checksums. A receiver
    in the kernel can tell, one behind a UDP socket cannot.
    """


class _Answer:
    kind = c.RTM_NEWLINK

    def __init__(self) -> None:
        self.found: Underlay | None = None

    def fast(self, _: Buffer, offset: int, __: int, /) -> int:
        """Nothing is read fast here."""
        return offset

    def slow(self, buffer: Buffer, offset: int, end: int, /) -> None:
        """As ``DumpParser.slow``."""
        _, kind, ifindex, _, _ = _LINK.unpack_from(buffer, offset + 16)
        found = attributes(buffer, offset + 32, end)
        bus = found.get(_BUS, b"").rstrip(b"\0")
        header = 14 if kind in _ETHERNET else 0 if kind in _NO_LINK_HEADER else None
        wire = bus not in _VIRTUAL_BUSES and c.IFLA_LINKINFO not in found
        self.found = Underlay(ifindex, header, wire)


def read_underlay(name: str) -> Underlay:
    """The device ``name`` in the calling thread's namespace; OSError ENODEV if there is none."""
    netlink = RequestSocket()
    answer = _Answer()
    try:
        body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        body += attribute(c.IFLA_IFNAME, name.encode() + b"\0")
        sequence = netlink.reserve(1)
        netlink.ask(message(c.RTM_GETLINK, c.NLM_F_REQUEST, sequence, body), sequence, answer)
    finally:
        netlink.close()
    assert answer.found is not None
    return answer.found
