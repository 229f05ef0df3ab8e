"""NodeAgent: wires store, engine and backend in one TaskGroup; the embeddable thing."""

from flannel_sdk.agent.installed_store import open_store
from flannel_sdk.agent.node_agent import NodeAgent
from flannel_sdk.agent.options import AgentOptions
from flannel_sdk.health.options import HealthOptions
from flannel_sdk.hostnet.firewall_options import FirewallOptions
from flannel_sdk.hostnet.interface_request import InterfaceRequest

__all__ = [
    "AgentOptions",
    "FirewallOptions",
    "HealthOptions",
    "InterfaceRequest",
    "NodeAgent",
    "open_store",
]
