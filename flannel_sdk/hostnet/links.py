"""This host's links, their addresses and the default routes, read from the kernel."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from flannel_sdk.errors import KernelRefused
from flannel_sdk.model import Family, IPAddress
from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.dumps import dump_bodies
from flannel_sdk.netlink.messages import attributes, number
from flannel_sdk.netlink.socket import InterruptedDump, RequestSocket

_DEPRECATED = 0x20
_PERMANENT = 0x80
_TEMPORARY = 0x01
_IFINFOMSG: Final = Struct("=BxHiII")
"""ifinfomsg: family, hardware type, index, flags, mask of flags to change."""
_IFADDRMSG: Final = Struct("=BBBBI")
"""ifaddrmsg: family, prefix length, flags, scope, device index."""
_RTMSG: Final = Struct("=BBBBBBBBI")
"""rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, type, flags."""


@dataclass(slots=True)
class InterfaceAddresses:
    """The addresses of one link with the kernel's scope and IFA_F flags."""

    entries: list[tuple[IPAddress, int, int]] = field(default_factory=list)

    def usable(self, family: Family) -> list[IPAddress]:
        """Global or link-local unicast, not deprecated; flannel's order: global before link-local,
        permanent before dynamic, lasting before temporary, then as the kernel lists them."""
        candidates = [
            (
                scope != c.RT_SCOPE_UNIVERSE,
                not flags & _PERMANENT,
                bool(flags & _TEMPORARY),
                address,
            )
            for address, scope, flags in self.entries
            if address.family is family
            and scope in {c.RT_SCOPE_UNIVERSE, c.RT_SCOPE_LINK}
            and not flags & _DEPRECATED
        ]
        return [address for *_, address in sorted(candidates, key=lambda found: found[:3])]


@dataclass(slots=True)
class Link:
    """One network interface."""

    index: int
    name: str
    mtu: int
    addresses: InterfaceAddresses = field(default_factory=InterfaceAddresses)


@dataclass(frozen=True, slots=True)
class LinkTable:
    """All links, in the kernel's order."""

    links: Mapping[int, Link]
    default_routes: Mapping[Family, int]
    """Index of the link of the first default route of each family that has one."""

    def by_name(self, name: str) -> Link | None:
        """The link of this name."""
        return next((link for link in self.links.values() if link.name == name), None)

    def by_index(self, index: int | None) -> Link | None:
        """The link of this index."""
        return None if index is None else self.links.get(index)

    def owner(self, address: IPAddress) -> Link | None:
        """The link that has ``address``."""
        for link in self.links.values():
            if any(address == entry[0] for entry in link.addresses.entries):
                return link
        return None

    def default_index(self, family: Family) -> int | None:
        """Index of the link of the first default route."""
        return self.default_routes.get(family)


def read_links(default_routes: Sequence[Family] = ()) -> LinkTable:
    """Read the calling thread's namespace, with the default routes of the families named.

    Blocks for less than a millisecond, and longer where default routes are among many others.
    KernelRefused if the kernel does not answer.
    """
    try:
        with closing(RequestSocket()) as netlink:
            links = _links(netlink)
            _fill_addresses(netlink, links)
            defaults = {
                family: index
                for family in default_routes
                if (index := _default_route(netlink, family)) is not None
            }
    except InterruptedDump as error:
        raise KernelRefused(
            "the network interfaces change faster than they can be listed", 0
        ) from error
    except OSError as error:
        raise KernelRefused(
            f"cannot list the network interfaces: {error.strerror}", error.errno or 0
        ) from error
    return LinkTable(links, defaults)


def _links(netlink: RequestSocket) -> dict[int, Link]:
    links = {}
    for body in dump_bodies(netlink, c.RTM_GETLINK, c.RTM_NEWLINK, _IFINFOMSG.pack(0, 0, 0, 0, 0)):
        _, _, index, _, _ = _IFINFOMSG.unpack_from(body)
        found = attributes(body, _IFINFOMSG.size, len(body))
        name = found.get(c.IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
        links[index] = Link(index, name, number(found.get(c.IFLA_MTU)))
    return links


def _fill_addresses(netlink: RequestSocket, links: Mapping[int, Link]) -> None:
    for body in dump_bodies(netlink, c.RTM_GETADDR, c.RTM_NEWADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0)):
        _, _, flags, scope, index = _IFADDRMSG.unpack_from(body)
        found = attributes(body, _IFADDRMSG.size, len(body))
        # On a point-to-point link IFA_ADDRESS is the other end's.
        address = found.get(c.IFA_LOCAL) or found.get(c.IFA_ADDRESS)
        if index in links and address is not None and len(address) in (4, 16):
            all_flags = number(found.get(c.IFA_FLAGS)) or flags
            links[index].addresses.entries.append((IPAddress(address), scope, all_flags))


def _default_route(netlink: RequestSocket, family: Family) -> int | None:
    """Index of the link of the first default route in the main table."""
    request = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    for body in dump_bodies(netlink, c.RTM_GETROUTE, c.RTM_NEWROUTE, request):
        _, length, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(body)
        if length == 0 and table == c.RT_TABLE_MAIN and kind == c.RTN_UNICAST:
            index = number(attributes(body, _RTMSG.size, len(body)).get(c.RTA_OIF))
            if index:
                return index
    return None
