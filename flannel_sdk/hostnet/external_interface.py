"""The underlay interface, and the addresses that peers are told (flannel 1.3), of this host now."""

from collections.abc import Sequence

from flannel_sdk.errors import InterfaceUnavailable
from flannel_sdk.hostnet.interface_choice import Attempt, attempts
from flannel_sdk.hostnet.interface_request import InterfaceRequest
from flannel_sdk.hostnet.links import LinkTable, read_links
from flannel_sdk.model import ByFamily, ExternalInterface, Family, IPAddress
from flannel_sdk.netns import run_in_netns


def find_external_interface(
    request: InterfaceRequest, families: Sequence[Family], netns: str | None = None
) -> ExternalInterface:
    """The underlay interface with an address of each of ``families``; blocks for some ms.

    InterfaceUnavailable, saying what was looked for, where there is none now.
    """
    failed: list[str] = []
    for attempt in attempts(request, families, read_host(request, families, netns)):
        if attempt.problem is None and attempt.link is not None:
            return _found(attempt, request.public_ips)
        failed.append(str(attempt.problem))
    raise InterfaceUnavailable("; ".join(failed))


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
