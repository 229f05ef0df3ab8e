"""RTM_GETLINK, RTM_SETLINK and link messages, with the attributes of vxlan devices decoded."""

from struct import Struct
from typing import Final

from flannel_sdk.dataplane.netlink.vxlan import decode_vxlan, encode_vxlan
from flannel_sdk.dataplane.objects import Device
from flannel_sdk.dataplane.observed import LinkState
from flannel_sdk.model import MacAddress
from flannel_sdk.netlink.constants import (
    IFF_LOWER_UP,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINK,
    IFLA_LINKINFO,
    IFLA_MTU,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
)
from flannel_sdk.netlink.messages import (
    Buffer,
    attribute,
    attributes,
    message,
    number,
    word,
)

IFINFOMSG: Final = Struct("=BxHiII")
"""ifinfomsg: family, hardware type, index, flags, mask of flags to change."""


def link_request(sequence: int, name: str | None = None) -> bytes:
    """A request for one link by name, or for a dump of all."""
    body = IFINFOMSG.pack(0, 0, 0, 0, 0)
    if name is None:
        return message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, sequence, body)
    body += attribute(IFLA_IFNAME, name.encode() + b"\0")
    return message(RTM_GETLINK, NLM_F_REQUEST, sequence, body)


def vxlan_creation(device: Device, lower: int | None, sequence: int) -> bytes:
    """A request that makes a vxlan device, down; ValueError for attributes it does not have."""
    values = dict(device.attributes)
    if lower is not None:
        values["vxlan_link"] = lower
    body = IFINFOMSG.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, device.name.encode() + b"\0")
    if device.mtu:
        body += word(IFLA_MTU, device.mtu)
    if device.mac is not None:
        body += attribute(IFLA_ADDRESS, device.mac)
    info = attribute(IFLA_INFO_KIND, b"vxlan") + attribute(IFLA_INFO_DATA, encode_vxlan(values))
    body += attribute(IFLA_LINKINFO, info)
    return message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL, sequence, body)


def link_change(
    index: int, sequence: int, *, up: bool = False, mtu: int = 0, mac: bytes | None = None
) -> bytes:
    """A request that sets what is given and leaves the rest."""
    body = IFINFOMSG.pack(0, 0, index, IFF_UP if up else 0, IFF_UP if up else 0)
    if mtu:
        body += word(IFLA_MTU, mtu)
    if mac is not None:
        body += attribute(IFLA_ADDRESS, mac)
    return message(RTM_NEWLINK, NLM_F_REQUEST, sequence, body)


def link_removal(index: int, sequence: int) -> bytes:
    """A request that deletes a device."""
    body = IFINFOMSG.pack(0, 0, index, 0, 0)
    return message(RTM_DELLINK, NLM_F_REQUEST, sequence, body)


class LinkParser:
    """Collects links out of a dump or a single answer."""

    def __init__(self) -> None:
        self.kind = RTM_NEWLINK
        self.links: list[LinkState] = []

    def fast(self, _buffer: Buffer, offset: int, _end: int) -> int:
        """No usual layout: links are few."""
        return offset

    def slow(self, buffer: Buffer, offset: int, end: int) -> None:
        """Read one message."""
        self.links.append(parse_link(buffer, offset, end))


def parse_link(buffer: Buffer, offset: int, end: int) -> LinkState:
    """Read one RTM_NEWLINK or RTM_DELLINK message."""
    _, _, index, flags, _ = IFINFOMSG.unpack_from(buffer, offset + 16)
    found = attributes(buffer, offset + 32, end)
    info_raw = found.get(IFLA_LINKINFO, b"")
    info = attributes(info_raw, 0, len(info_raw))
    kind = info.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode()
    decoded: dict[str, object] = {}
    if kind == "vxlan":
        decoded = decode_vxlan(info.get(IFLA_INFO_DATA, b""))
    mac = found.get(IFLA_ADDRESS)
    lower = number(found.get(IFLA_LINK)) or decoded.get("vxlan_link")
    return LinkState(
        index,
        found.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        kind,
        number(found.get(IFLA_MTU)),
        MacAddress(mac) if mac is not None and len(mac) == 6 else None,
        bool(flags & IFF_UP),
        bool(flags & IFF_LOWER_UP),
        lower if isinstance(lower, int) else None,
        decoded,
    )
