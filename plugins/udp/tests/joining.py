"""udp nodes and a peer for tests on the real kernel."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from flannel_sdk_udp import plugin
from flannel_sdk_udp.datapath import DatapathUnsupported

from flannel_sdk.interfaces import Network
from flannel_sdk.model import ByFamily, IPAddress, Lease, LeaseAttrs, NetworkConfig, Prefix
from flannel_sdk.testing.scripted import ScriptedFeed
from tests.overlay import V4, Node, config, register, running, told

PAIRS = {
    "userspace": ("userspace", "userspace"),
    "kernel": ("kernel", "kernel"),
    "kernel-to-userspace": ("kernel", "userspace"),
    "userspace-to-kernel": ("userspace", "kernel"),
}
"""The data paths of two nodes; traffic goes from the first to the second."""


async def join(node: Node, settings: NetworkConfig) -> Network:
    network, _ = await register(plugin.create(node.context()), node, settings)
    return network


async def join_on(node: Node, path: str) -> Network:
    """On this data path; the test is skipped, with the reason, where it cannot work."""
    try:
        return await join(node, config("udp", V4, Datapath=path))
    except DatapathUnsupported as error:
        pytest.skip(str(error))


def peer(number: int, backend_type: str = "") -> Lease:
    """A peer that is nowhere."""
    return Lease(
        ByFamily(Prefix.parse(f"10.5.{number}.0/24")),
        LeaseAttrs(ByFamily(IPAddress.parse(f"192.0.2.{number}")), backend_type),
    )


def count(network: Network, counter: str) -> int:
    """One counter, of all paths of a node together."""
    counters = told(network, "datapath", "counters")
    assert isinstance(counters, dict)
    return sum(path[counter] for path in counters.values())


class Pair(NamedTuple):
    """Two nodes that carry for each other."""

    networks: tuple[Network, Network]
    feeds: tuple[ScriptedFeed, ScriptedFeed]


@asynccontextmanager
async def pair(nodes: list[Node], paths: tuple[str, str]) -> AsyncIterator[Pair]:
    """Both run in the block, each with the other as its only peer."""
    first, second = await join_on(nodes[0], paths[0]), await join_on(nodes[1], paths[1])
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        yield Pair((first, second), (feed1, feed2))
