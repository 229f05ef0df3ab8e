"""A vxlan node and a peer for tests on the real kernel."""

from flannel_sdk_vxlan import plugin

from flannel_sdk.interfaces import Backend, Network
from flannel_sdk.model import ByFamily, IPAddress, Lease, LeaseAttrs, NetworkConfig, Prefix
from tests.overlay import Node, register


def backend(node: Node, public_ips: ByFamily[IPAddress] | None = None) -> Backend:
    return plugin.create(node.context(public_ips))


async def join(node: Node, settings: NetworkConfig) -> Network:
    network, _ = await register(backend(node), node, settings)
    return network


def peer(number: int, mac: str = "02:00:00:00:00:09", vni: int = 1) -> Lease:
    """A peer that is nowhere."""
    return Lease(
        ByFamily(Prefix.parse(f"10.5.{number}.0/24")),
        LeaseAttrs(
            ByFamily(IPAddress.parse(f"192.0.2.{number}")),
            "vxlan",
            ByFamily(f'{{"VNI":{vni},"VtepMAC":"{mac}"}}'),
        ),
    )
