"""What the firewall rules of this host are about: the network, and our subnets in it."""

from pathlib import Path

from flannel_sdk.hostnet.firewall import Addresses, Firewall
from flannel_sdk.hostnet.firewall_options import FirewallOptions
from flannel_sdk.hostnet.subnet_file import read_previous_networks
from flannel_sdk.model import ByFamily, Lease, NetworkConfig


def make_firewall(options: FirewallOptions, config: NetworkConfig, netns: str | None) -> Firewall:
    """The firewall that ``options`` ask for; EnableNFTables decides where they leave it open.

    Without it flanneld would take iptables; we take what this host can do best.
    """
    return Firewall(options, netns=netns, kind="nftables" if config.enable_nftables else "auto")


def rule_addresses(config: NetworkConfig, lease: Lease) -> ByFamily[Addresses]:
    """Network and subnet of each family that has both."""
    found: ByFamily[Addresses] = ByFamily()
    for family, pool in config.pools.items_by_family():
        subnet = lease.subnet(family)
        if subnet is not None:
            addresses = Addresses(pool.network.masked(), subnet.masked())
            found = found.with_value(family, addresses)
    return found


def former_addresses(subnet_file: Path | None) -> tuple[Addresses, ...]:
    """What the rules of an earlier run were about, ours or flanneld's; none if that is unknown."""
    if subnet_file is None:
        return ()
    pairs = read_previous_networks(subnet_file)
    return tuple(Addresses(network, subnet) for network, subnet in pairs)
