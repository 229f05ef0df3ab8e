"""This host's links, their addresses and the default routes, read once through pyroute2."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flannel_sdk.errors import KernelRefused
from flannel_sdk.model import Family, IPAddress

_DEPRECATED = 0x20
_PERMANENT = 0x80
_TEMPORARY = 0x01
_SCOPE_GLOBAL = 0
_SCOPE_LINK = 253


@dataclass(slots=True)
class InterfaceAddresses:
    """The addresses of one link with the kernel's scope and IFA_F flags."""

    entries: list[tuple[IPAddress, int, int]] = field(default_factory=list)

    def usable(self, family: Family) -> list[IPAddress]:
        """Global or link-local unicast, not deprecated; flannel's order: global before link-local,
        permanent before dynamic, lasting before temporary, then as the kernel lists them."""
        candidates = [
            (scope != _SCOPE_GLOBAL, not flags & _PERMANENT, bool(flags & _TEMPORARY), address)
            for address, scope, flags in self.entries
            if address.family is family
            and scope in {_SCOPE_GLOBAL, _SCOPE_LINK}
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


def read_links() -> LinkTable:
    """Read the calling thread's namespace; KernelRefused if the kernel does not answer."""
    # Costs 110 ms, and never belongs on an event loop's thread.
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as netlink:
            return _table(
                netlink.get_links(), netlink.get_addr(), netlink.get_default_routes(table=254)
            )
    except NetlinkError as error:
        raise KernelRefused(f"cannot list the network interfaces: {error}", error.code) from error


def _table(
    links: Iterable[object], addresses: Iterable[object], routes: Iterable[object]
) -> LinkTable:
    found = {}
    for message in links:
        index = _header(message, "index")
        found[index] = Link(
            index, str(_attribute(message, "IFLA_IFNAME")), _number(message, "IFLA_MTU")
        )
    for message in addresses:
        text = _attribute(message, "IFA_LOCAL") or _attribute(message, "IFA_ADDRESS")
        link = found.get(_header(message, "index"))
        if link is not None and isinstance(text, str):
            link.addresses.entries.append(
                (IPAddress.parse(text), _header(message, "scope"), _number(message, "IFA_FLAGS"))
            )
    defaults: dict[Family, int] = {}
    for message in routes:
        output = _attribute(message, "RTA_OIF")
        if isinstance(output, int):
            defaults.setdefault(Family(_header(message, "family")), output)
    return LinkTable(found, defaults)


def _header(message: object, name: str) -> int:
    value = message[name] if isinstance(message, dict) else 0
    return value if isinstance(value, int) else 0


def _attribute(message: object, name: str) -> object:
    read = getattr(message, "get_attr", None)
    return read(name) if callable(read) else None


def _number(message: object, name: str) -> int:
    value = _attribute(message, name)
    return value if isinstance(value, int) else 0
