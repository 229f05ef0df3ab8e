"""The underlay interface, and the addresses that peers are told (flannel 1.3), of this host now."""

from collections.abc import Sequence
from dataclasses import replace

from flannel_sdk.errors import InterfaceUnavailable
from flannel_sdk.hostnet.interface_choice import Attempt, attempts
from flannel_sdk.hostnet.interface_request import InterfaceRequest
from flannel_sdk.hostnet.links import LinkTable, read_links
from flannel_sdk.model import ByFamily, ExternalInterface, Family, IPAddress
from flannel_sdk.netns import run_in_netns


def find_external_interface(
    request: InterfaceRequest,
    families: Sequence[Family],
    netns: str | None = None,
    current: ExternalInterface | None = None,
) -> ExternalInterface:
    """The underlay interface with an address of each of ``families``; blocks for some ms.

    The ``current`` one, with its addresses, as long as it is one of those that were asked for.
    InterfaceUnavailable, saying what was looked for, where there is none now.
    """
    made = list(attempts(request, families, read_host(request, families, netns)))
    fitting = [attempt for attempt in made if attempt.problem is None]
    if not fitting:
        raise InterfaceUnavailable("; ".join(str(attempt.problem) for attempt in made))
    if current is not None:
        for attempt in fitting:
            if attempt.link is not None and attempt.link.index == current.index:
                return _found(_keeping(attempt, current), request.public_ips)
    return _found(fitting[0], request.public_ips)


def _keeping(attempt: Attempt, current: ExternalInterface) -> Attempt:
    """``attempt`` with those addresses of ``current`` that its link still has."""
    addresses = attempt.addresses
    assert attempt.link is not None
    for family, address in current.addresses.items_by_family():
        if address in attempt.link.addresses.usable(family):
            addresses = addresses.with_value(family, address)
    return replace(attempt, addresses=addresses)


def is_as_it_was(current: ExternalInterface, netns: str | None = None) -> bool:
    """Whether the interface is there with its name, MTU and addresses; blocks for some ms.

    Whether a request still means it is not looked at: that may take all routes.
    """
    link = run_in_netns(netns, read_links).by_index(current.index)
    return (
        link is not None
        and (link.name, link.mtu) == (current.name, current.mtu)
        and all(
            address in link.addresses.usable(family)
            for family, address in current.addresses.items_by_family()
        )
    )


def read_host(
    request: InterfaceRequest, families: Sequence[Family], netns: str | None = None
) -> LinkTable:
    """What of a host is needed to answer ``request``; blocks for some ms."""
    # All routes are read for the default ones, of which there may be one for each peer.
    defaults = () if request.names_interface else families
    return run_in_netns(netns, lambda: read_links(defaults, request.can_reach))


def _found(attempt: Attempt, public_ips: ByFamily[IPAddress]) -> ExternalInterface:
    link, addresses = attempt.link, attempt.addresses
    assert link is not None
    told: ByFamily[IPAddress] = ByFamily()
    for family, address in addresses.items_by_family():
        told = told.with_value(family, public_ips.get(family) or address)
    return ExternalInterface(link.name, link.index, link.mtu, addresses, told)
