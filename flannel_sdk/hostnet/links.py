"""This host's links, their addresses and the default routes, read from the kernel."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, NamedTuple

from flannel_sdk.errors import KernelRefused
from flannel_sdk.model import Family, IPAddress
from flannel_sdk.model.peer_checks import is_node_address
from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.dumps import dump_bodies, one_body
from flannel_sdk.netlink.messages import attribute, attributes, number
from flannel_sdk.netlink.socket import InterruptedDump, RequestSocket

_TEMPORARY = 0x01
_DAD_FAILED = 0x08
_DEPRECATED = 0x20
_TENTATIVE = 0x40
_PERMANENT = 0x80
_IFINFOMSG: Final = Struct("=BxHiII")
"""ifinfomsg: family, hardware type, index, flags, mask of flags to change."""
_IFADDRMSG: Final = Struct("=BBBBI")
"""ifaddrmsg: family, prefix length, flags, scope, device index."""
_RTMSG: Final = Struct("=BBBBBBBBI")
"""rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, type, flags."""

_RTNEXTHOP: Final = Struct("=xxxxI")
"""rtnexthop: the device's index after length, flags and weight."""


@dataclass(slots=True)
class InterfaceAddresses:
    """The addresses of one link with the kernel's IFA_F flags."""

    entries: list[tuple[IPAddress, int]] = field(default_factory=list)

    def usable(self, family: Family) -> list[IPAddress]:
        """Global or link-local unicast, neither deprecated nor somebody else's.

        flannel's order: global before link-local, permanent before dynamic, lasting before
        temporary; then what is known to be unique, and as the kernel lists them.
        """
        candidates = [
            (
                _is_link_local(address),
                not flags & _PERMANENT,
                bool(flags & _TEMPORARY),
                bool(flags & _TENTATIVE),
                address,
            )
            for address, flags in self.entries
            if address.family is family and _flaw(address, flags) is None
        ]
        return [address for *_, address in sorted(candidates, key=lambda found: found[:4])]

    def unusable(self, family: Family) -> list[tuple[IPAddress, str]]:
        """The other addresses of a family, each with the reason in a word or two."""
        judged = [(address, _flaw(address, flags)) for address, flags in self.entries]
        return [(address, flaw) for address, flaw in judged if flaw and address.family is family]


def _flaw(address: IPAddress, flags: int) -> str | None:
    """Why peers cannot use an address; None if they can."""
    if not is_node_address(address):
        return "not for peers"
    if flags & _DAD_FAILED:
        return "somebody else's"
    return "deprecated" if flags & _DEPRECATED else None


@dataclass(slots=True)
class Link:
    """One network interface."""

    index: int
    name: str
    mtu: int
    addresses: InterfaceAddresses = field(default_factory=InterfaceAddresses)


def _is_link_local(address: IPAddress) -> bool:
    """In 169.254.0.0/16 or fe80::/10."""
    if len(address) == 4:
        return address.startswith(b"\xa9\xfe")
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


class Reach(NamedTuple):
    """The way to one address."""

    device: int
    """The link's index."""
    source: IPAddress | None
    """What packets on that way come from."""


@dataclass(frozen=True, slots=True)
class LinkTable:
    """All links, in the kernel's order."""

    links: Mapping[int, Link]
    default_routes: Mapping[Family, int]
    """Index of the link of the best default route of each family that has one."""
    reach: Reach | None = None
    """The way to the address that was asked about, if there is one."""

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
        """Index of the link of the best default route."""
        return self.default_routes.get(family)


def read_links(
    default_routes: Sequence[Family] = (), can_reach: IPAddress | None = None
) -> LinkTable:
    """Read the calling thread's namespace, with the default routes of the families named.

    And with the way to ``can_reach``, if that is given.

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
            reach = _reach(netlink, can_reach) if can_reach is not None else None
    except InterruptedDump as error:
        raise KernelRefused(
            "the network interfaces change faster than they can be listed", 0
        ) from error
    except OSError as error:
        raise KernelRefused(
            f"cannot list the network interfaces: {error.strerror}", error.errno or 0
        ) from error
    return LinkTable(links, defaults, reach)


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
        _, _, flags, _, index = _IFADDRMSG.unpack_from(body)
        found = attributes(body, _IFADDRMSG.size, len(body))
        # On a point-to-point link IFA_ADDRESS is the other end's.
        address = found.get(c.IFA_LOCAL) or found.get(c.IFA_ADDRESS)
        if index in links and address is not None and len(address) in (4, 16):
            all_flags = number(found.get(c.IFA_FLAGS)) or flags
            links[index].addresses.entries.append((IPAddress(address), all_flags))


def _default_route(netlink: RequestSocket, family: Family) -> int | None:
    """Index of the link of the best default route in the main table: lowest metric, then first."""
    best: tuple[int, int] | None = None
    request = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    for body in dump_bodies(netlink, c.RTM_GETROUTE, c.RTM_NEWROUTE, request):
        _, length, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(body)
        if length == 0 and table == c.RT_TABLE_MAIN and kind == c.RTN_UNICAST:
            found = attributes(body, _RTMSG.size, len(body))
            index, metric = _device(found), number(found.get(c.RTA_PRIORITY))
            if index and (best is None or metric < best[0]):
                best = metric, index
    return best[1] if best is not None else None


def _reach(netlink: RequestSocket, address: IPAddress) -> Reach | None:
    """The route that a packet to ``address`` takes now; None where there is none."""
    body = _RTMSG.pack(address.family, len(address) * 8, 0, 0, 0, 0, 0, 0, 0)
    body += attribute(c.RTA_DST, address)
    try:
        answer = one_body(netlink, c.RTM_GETROUTE, c.RTM_NEWROUTE, body)
    except OSError:  # unreachable, in one of the kernel's words for it
        return None
    kind = _RTMSG.unpack_from(answer)[7]
    found = attributes(answer, _RTMSG.size, len(answer))
    index, source = _device(found), found.get(c.RTA_PREFSRC)
    if not index or kind not in {c.RTN_UNICAST, c.RTN_LOCAL}:
        return None
    return Reach(index, IPAddress(source) if source else None)


def _device(found: Mapping[int, bytes]) -> int:
    """A route's device, the first way's where it has several; 0 where it has none."""
    if index := number(found.get(c.RTA_OIF)):
        return index
    ways = found.get(c.RTA_MULTIPATH, b"")
    return _RTNEXTHOP.unpack_from(ways)[0] if len(ways) >= _RTNEXTHOP.size else 0
