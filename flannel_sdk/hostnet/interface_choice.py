"""Which link and which of its addresses a request means: each way asked for, and its result."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from flannel_sdk.hostnet.interface_request import InterfaceRequest, go_regex
from flannel_sdk.hostnet.links import Link, LinkTable
from flannel_sdk.model import ByFamily, Family, IPAddress

NO_ADDRESSES: ByFamily[IPAddress] = ByFamily()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to find the interface, and what came of it."""

    asked: str
    """As people ask for it: ``--iface eth0``."""
    link: Link | None
    addresses: ByFamily[IPAddress]
    problem: str | None
    """Why it gives no interface, as a clause; None where it gives ``link`` with ``addresses``."""
    lost: str = ""
    """Why it gives no other link than this one, as what is said of the other one."""


def attempts(
    request: InterfaceRequest, families: Sequence[Family], links: LinkTable
) -> Iterator[Attempt]:
    """Each way that is asked for, in the order in which they count; the first that works wins."""
    for name in request.interfaces:
        attempt = _by_name(name, request, families, links)
        yield replace(attempt, lost=f"is not called {name} and has no such address")
    for pattern in request.regexes:
        attempt = _by_regex(pattern, request, families, links)
        yield replace(attempt, lost=f"{pattern!r} matches nothing of it, or matched another first")
    if (address := request.can_reach) is not None:
        attempt = _by_route(address, request, families, links)
        yield replace(attempt, lost=f"is not on the way to {address}")
    if not request.names_interface:
        attempt = _by_default(request, families, links)
        yield replace(attempt, lost=f"does not have {attempt.asked.removeprefix('--')}")


def _by_name(
    name: str, request: InterfaceRequest, families: Sequence[Family], links: LinkTable
) -> Attempt:
    asked = f"--iface {name}"
    try:
        address = IPAddress.parse(name)
    except ValueError:
        link = links.by_name(name)
        if link is None:
            problem = f"there is no network interface called {name}: check --iface"
            return Attempt(asked, None, NO_ADDRESSES, problem)
        return _judged(asked, link, NO_ADDRESSES, request, families)
    link = links.owner(address)
    if link is None:
        problem = f"there is no network interface with the address {name}: check --iface"
        return Attempt(asked, None, NO_ADDRESSES, problem)
    fixed = NO_ADDRESSES.with_value(address.family, address)
    return _judged(asked, link, fixed, request, families)


def _by_regex(
    pattern: str, request: InterfaceRequest, families: Sequence[Family], links: LinkTable
) -> Attempt:
    """A link whose addresses match in all families, else whose name does, else in one family.

    flannel 1.3, and beyond it the last, and that a name counts only where the link can be used;
    both addresses are of the one link (D35).
    """
    asked, search = f"--iface-regex {pattern}", re.compile(go_regex(pattern)).search
    partly: tuple[Link, ByFamily[IPAddress]] | None = None
    for link in links.links.values():
        matching = NO_ADDRESSES
        for family in families:
            usable = link.addresses.usable(family)
            found = next((address for address in usable if search(str(address))), None)
            matching = matching.with_value(family, found)
        if len(matching.families) == len(families):
            return _judged(asked, link, matching, request, families)
        if matching.families and partly is None:
            partly = link, matching
    named = [link for link in links.links.values() if search(link.name)]
    judged = [_judged(asked, link, NO_ADDRESSES, request, families) for link in named]
    judged += [_judged(asked, *partly, request, families)] if partly is not None else []
    if judged:
        return next((attempt for attempt in judged if attempt.problem is None), judged[0])
    problem = f"no network interface has an address or a name that {pattern!r} matches"
    return Attempt(asked, None, NO_ADDRESSES, f"{problem}: check --iface-regex")


def _by_route(
    address: IPAddress, request: InterfaceRequest, families: Sequence[Family], links: LinkTable
) -> Attempt:
    asked = f"--iface-can-reach {address}"
    link = links.by_index(links.reach.device) if links.reach is not None else None
    if links.reach is None or link is None:
        problem = f"there is no route to {address}, which --iface-can-reach names"
        return Attempt(asked, None, NO_ADDRESSES, problem)
    fixed = NO_ADDRESSES.with_value(address.family, links.reach.source)
    return _judged(asked, link, fixed, request, families)


def _by_default(request: InterfaceRequest, families: Sequence[Family], links: LinkTable) -> Attempt:
    """A local public IP names the interface (as flanneld's flag does); else the default route."""
    for family in families:
        public_ip = request.public_ips.get(family)
        if public_ip is not None and (owner := links.owner(public_ip)):
            return _judged(
                f"--{_FLAGS[family]} {public_ip}", owner, NO_ADDRESSES, request, families
            )
    asked = "the default route"
    found = {links.default_index(family) for family in families} - {None}
    if not found:
        problem = "there is no default route to choose the interface by: name one with --iface"
        return Attempt(asked, None, NO_ADDRESSES, problem)
    if len(found) > 1:
        problem = "the IPv4 and IPv6 default routes use different interfaces: name one with --iface"
        return Attempt(asked, None, NO_ADDRESSES, problem)
    link = links.by_index(found.pop())
    if link is None:
        problem = "the default route's interface went away: name one with --iface"
        return Attempt(asked, None, NO_ADDRESSES, problem)
    return _judged(asked, link, NO_ADDRESSES, request, families)


_FLAGS = {Family.IPV4: "public-ip", Family.IPV6: "public-ipv6"}


def _judged(
    asked: str,
    link: Link,
    fixed: ByFamily[IPAddress],
    request: InterfaceRequest,
    families: Sequence[Family],
) -> Attempt:
    """``link`` with the addresses that were asked for, else its own public IP, else its best."""
    addresses = NO_ADDRESSES
    for family in families:
        usable = link.addresses.usable(family)
        wanted = fixed.get(family), request.public_ips.get(family)
        address = next((a for a in wanted if a in usable), None) or next(iter(usable), None)
        if address is None:
            lacking = f"the interface {link.name} has no usable {family} address"
            hint = "give it one, or name another with --iface"
            return Attempt(asked, link, addresses, f"{lacking}: {hint}")
        addresses = addresses.with_value(family, address)
    problem = f"the interface {link.name} says no MTU: set one" if link.mtu <= 0 else None
    return Attempt(asked, link, addresses, problem)
