"""Nodes and traffic for tests of backends, and a network that runs in a block."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from flannel_sdk.interfaces import Backend, Network, SupportsStatus
from flannel_sdk.model import ByFamily, NetworkConfig, Subnets
from flannel_sdk.testing.overlay import V4, V6, Node, config, underlay
from flannel_sdk.testing.scripted import ScriptedFeed, ScriptedLeases
from flannel_sdk.testing.traffic import HEADERS, Stream, reaches, stream

__all__ = [
    "HEADERS",
    "V4",
    "V6",
    "Node",
    "Stream",
    "config",
    "reaches",
    "register",
    "running",
    "stream",
    "told",
    "underlay",
]


async def register(
    backend: Backend, node: Node, network_config: NetworkConfig
) -> tuple[Network, ScriptedLeases]:
    """Register a network with the node's lease of the enabled families."""
    subnets: Subnets = ByFamily()
    for family in network_config.pools.families:
        subnets = subnets.with_value(family, node.subnets.get(family))
    leases = ScriptedLeases(subnets)
    return await backend.register_network(network_config, leases), leases


@asynccontextmanager
async def running(network: Network) -> AsyncIterator[ScriptedFeed]:
    """The network runs in the block; leaving it has to take less than a second."""
    feed = ScriptedFeed()
    task = asyncio.create_task(network.run(feed))

    def told(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            feed.fail()

    task.add_done_callback(told)
    try:
        yield feed
    finally:
        task.cancel()
        async with asyncio.timeout(1):
            with contextlib.suppress(asyncio.CancelledError):
                await task


def told(network: Network, *path: str) -> object:
    """What a network's status says under the given keys."""
    assert isinstance(network, SupportsStatus)
    value: object = network.status()
    for key in path:
        assert isinstance(value, Mapping)
        value = value[key]
    return value
