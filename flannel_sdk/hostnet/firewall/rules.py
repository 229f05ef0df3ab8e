"""The masquerade and forward rules of one network on one node, whatever puts them in the kernel."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from flannel_sdk.model import ByFamily, Family, Prefix

MULTICAST: Final = {
    Family.IPV4: Prefix.parse("224.0.0.0/4"),
    Family.IPV6: Prefix.parse("ff00::/8"),
}
KUBE_PROXY_MARK: Final = 0x4000
"""The bit of a packet's mark by which kube-proxy says that it will masquerade the packet itself."""

Action = Literal["return", "accept", "masquerade", "jump"]


class Rule(NamedTuple):
    """One rule: all that is given has to match."""

    action: Action
    source: Prefix | None = None
    destination: Prefix | None = None
    not_source: bool = False
    """Match every source but ``source``."""
    not_destination: bool = False
    marked: bool = False
    """Match packets with kube-proxy's mark."""
    chain: str = ""
    """Where a jump goes."""

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """The networks it names, without the multicast ones."""
        named = (self.source, self.destination)
        return tuple(p for p in named if p is not None and p not in MULTICAST.values())


class Addresses(NamedTuple):
    """What the rules of one family are about."""

    network: Prefix
    """The network of all pods."""
    subnet: Prefix
    """The part of it that this node leases."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of one network on one node."""

    addresses: ByFamily[Addresses]
    masquerade: bool = False
    forward: bool = False
    fully_random: bool = True
    """Masquerade to source ports that nobody can foresee; spares races in conntrack."""
    former: tuple[Addresses, ...] = ()
    """What rules of ours, or of a predecessor, may be about that are needed no more."""

    @property
    def empty(self) -> bool:
        """Whether no rule is wanted."""
        return not (self.masquerade or self.forward)

    def masquerade_rules(self, family: Family) -> tuple[Rule, ...]:
        """What is decided about a packet's source when it leaves, in order; after the mark's rule.

        As flannel's (8.1): what pods send out of the network gets the node's address, what comes
        from outside to a pod of another node too, and everything else stays as it is.
        """
        found = self.addresses.get(family)
        if found is None or not self.masquerade:
            return ()
        network, subnet = found
        return (
            Rule("return", subnet, network),
            Rule("return", network, subnet),
            Rule("return", network, subnet, not_source=True),
            Rule("masquerade", network, MULTICAST[family], not_destination=True),
            Rule("masquerade", network, network, not_source=True),
        )

    def forward_rules(self, family: Family) -> tuple[Rule, ...]:
        """What is let through between devices, in order."""
        found = self.addresses.get(family)
        if found is None or not self.forward:
            return ()
        return Rule("accept", found.network), Rule("accept", destination=found.network)

    def pairs(self, family: Family) -> tuple[Addresses, ...]:
        """What the rules of one family are about, then what they were about before."""
        now = self.addresses.get(family)
        before = tuple(a for a in self.former if a.network.family is family)
        return before if now is None else (now, *before)

    def networks(self, family: Family) -> tuple[Prefix, ...]:
        """The networks by which rules of ours are told, also old ones."""
        return tuple(pair.network for pair in self.pairs(family))


NO_RIGHT: Final = "setting masquerade and forward rules needs CAP_NET_ADMIN: run as root"

MARK_RULE: Final = Rule("return", marked=True)
"""Comes before all masquerade rules of a chain."""
