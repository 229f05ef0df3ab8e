"""Choice of the underlay interface and of the addresses that peers are told (flannel 1.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from flannel_sdk.errors import ConfigError, InterfaceUnavailable
from flannel_sdk.hostnet.links import InterfaceAddresses, Link, LinkTable, read_links
from flannel_sdk.model import ByFamily, ExternalInterface, Family, IPAddress
from flannel_sdk.model.peer_checks import is_node_address
from flannel_sdk.netns import run_in_netns


@dataclass(frozen=True, slots=True)
class InterfaceRequest:
    """What the operator asked for; with nothing set, the interface of the default route."""

    interface: str | None = None
    """A name, or an address that the interface has."""
    public_ips: ByFamily[IPAddress] = field(default_factory=ByFamily)
    """What peers are told instead of the interface's own address; need not be local."""


def find_external_interface(
    request: InterfaceRequest, families: Sequence[Family], netns: str | None = None
) -> ExternalInterface:
    """The underlay interface with an address of each of ``families``; blocks for some ms.

    ConfigError for a public IP that no node can have. InterfaceUnavailable, naming what was looked
    for, where there is none now.
    """
    # All routes are read for the default ones, of which there may be one for each peer.
    wanted = families if request.interface is None else ()
    links = run_in_netns(netns, lambda: read_links(wanted))
    for family in families:
        given = request.public_ips.get(family)
        if given is not None and given.family is not family:
            raise ConfigError("public-ip", f"the public IP {given} is not an {family} address")
        if given is not None and not is_node_address(given):
            raise ConfigError(
                "public-ip",
                f"the public IP {given} is no unicast address of a host: peers would refuse it",
            )
    link = _choose_link(request, families, links)
    addresses: ByFamily[IPAddress] = ByFamily()
    public_ips: ByFamily[IPAddress] = ByFamily()
    for family in families:
        address = _choose_address(request, family, link.addresses)
        if address is None:
            raise InterfaceUnavailable(
                f"the interface {link.name} has no usable {family} address: "
                f"give it one, or name another with --iface"
            )
        addresses = addresses.with_value(family, address)
        public_ips = public_ips.with_value(family, request.public_ips.get(family) or address)
    if link.mtu <= 0:
        raise InterfaceUnavailable(f"the interface {link.name} says no MTU: set one")
    return ExternalInterface(link.name, link.index, link.mtu, addresses, public_ips)


def _choose_link(request: InterfaceRequest, families: Sequence[Family], links: LinkTable) -> Link:
    if request.interface is None:
        return _default_route_link(request, families, links)
    try:
        address = IPAddress.parse(request.interface)
    except ValueError:
        link = links.by_name(request.interface)
        what = f"called {request.interface}"
    else:
        link = links.owner(address)
        what = f"with the address {address}"
    if link is None:
        raise InterfaceUnavailable(f"there is no network interface {what}: check --iface")
    return link


def _default_route_link(
    request: InterfaceRequest, families: Sequence[Family], links: LinkTable
) -> Link:
    """A local public IP names the interface (as flanneld's flag does); else the default route."""
    for family in families:
        public_ip = request.public_ips.get(family)
        if public_ip is not None and (owner := links.owner(public_ip)):
            return owner
    found = {links.default_index(family) for family in families}
    if None in found:
        raise InterfaceUnavailable(
            "there is no default route to choose the interface by: name one with --iface"
        )
    if len(found) > 1:
        raise InterfaceUnavailable(
            "the IPv4 and IPv6 default routes use different interfaces: name one with --iface"
        )
    link = links.by_index(found.pop())
    if link is None:
        raise InterfaceUnavailable("the default route's interface went away: name one with --iface")
    return link


def _choose_address(
    request: InterfaceRequest, family: Family, addresses: InterfaceAddresses
) -> IPAddress | None:
    """The address that was asked for if it is of this family, else the best usable one."""
    usable = addresses.usable(family)
    wanted = request.public_ips.get(family)
    for candidate in (request.interface, str(wanted) if wanted else None):
        for address in usable:
            if candidate == str(address):
                return address
    return usable[0] if usable else None
