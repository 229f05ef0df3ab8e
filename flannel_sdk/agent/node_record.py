"""What a store that keeps records of nodes adds: their names, this one's public IPs, readiness."""

import logging
from collections.abc import Callable
from dataclasses import replace

from flannel_sdk.backoff import retry
from flannel_sdk.errors import PermanentError
from flannel_sdk.hostnet.interface_request import InterfaceRequest
from flannel_sdk.interfaces import (
    SubnetManager,
    SupportsHolderNames,
    SupportsNetworkReady,
    SupportsStoredPublicIPs,
)
from flannel_sdk.model import Lease, Subnets

_log = logging.getLogger(__name__)


async def asked_interface(store: SubnetManager, request: InterfaceRequest) -> InterfaceRequest:
    """``request`` with the public IPs that the store has for this node instead of its own."""
    found: object = store
    if not isinstance(found, SupportsStoredPublicIPs):
        return request
    stored = await retry(f"asking {store.name} for this node's public IPs", found.stored_public_ips)
    given = request.public_ips
    return replace(
        request, public_ip=stored.ipv4 or given.ipv4, public_ipv6=stored.ipv6 or given.ipv6
    )


def holder_names(store: SubnetManager) -> Callable[[Subnets], str | None]:
    """By what name the store knows who holds a lease, if it knows names."""
    found: object = store
    return found.holder_name if isinstance(found, SupportsHolderNames) else lambda _: None


async def tell_ready(store: SubnetManager, lease: Lease) -> None:
    """Tell a store that wants to know that the network works; what can heal is waited out."""
    found: object = store
    if not isinstance(found, SupportsNetworkReady):
        return
    ready = found.network_ready
    try:
        await retry(f"telling {store.name} that the network is ready", lambda: ready(lease))
    except PermanentError as error:  # the network itself works
        _log.warning("%s is not told that the network is ready: %s", store.name, error)
