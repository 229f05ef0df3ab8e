"""A udp node and a peer for tests on the real kernel."""

from flannel_sdk_udp import plugin

from flannel_sdk.interfaces import Network
from flannel_sdk.model import NetworkConfig
from tests.overlay import Node, register


async def join(node: Node, settings: NetworkConfig) -> Network:
    network, _ = await register(plugin.create(node.context()), node, settings)
    return network
