"""flannel's two iptables chains: what has to be in them, what is, and what of it is ours.

Several networks on one host share the chains; each keeps the rules that name its own network.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from flannel_sdk.hostnet.firewall.rules import MARK_RULE, MULTICAST, Addresses, Rule, RuleSet
from flannel_sdk.model import Family, Prefix


class FlannelChain(NamedTuple):
    """A chain of flannel's and where it is called."""

    table: str
    name: str
    caller: str
    """The built-in chain that jumps to it."""
    comment: str
    """On each of its rules, and on the jump."""


MASQUERADE_CHAIN: Final = FlannelChain("nat", "FLANNEL-POSTRTG", "POSTROUTING", "flanneld masq")
FORWARD_CHAIN: Final = FlannelChain("filter", "FLANNEL-FWD", "FORWARD", "flanneld forward")
FLANNEL_CHAINS: Final = (MASQUERADE_CHAIN, FORWARD_CHAIN)


class SeenRule(NamedTuple):
    """A rule that is there."""

    rule: Rule | None
    """None for one that does what none of ours does."""
    fully_random: bool | None = None
    """Of a masquerade; None where it is not known."""
    line: str = ""
    """As iptables-save shows it; empty where it was read otherwise."""
    handle: int = 0
    """Its number in nf_tables; 0 where it was read otherwise."""


Chains = Mapping[str, Sequence[SeenRule]]
"""The chains of one table by name, and their rules in order."""


def wanted_rules(chain: FlannelChain, rules: RuleSet, family: Family) -> tuple[Rule, ...]:
    """What one chain has to hold of ``rules``, in order."""
    if chain is FORWARD_CHAIN:
        return rules.forward_rules(family)
    masquerade = rules.masquerade_rules(family)
    return (MARK_RULE, *masquerade) if masquerade else ()


def _old_rules(chain: FlannelChain, pairs: Iterable[Addresses]) -> set[Rule]:
    """What flannel up to 0.11 wrote into POSTROUTING itself, for pairs of network and subnet.

    Its two FORWARD rules carry nothing by which they could be told from somebody else's.
    """
    if chain is FORWARD_CHAIN:
        return set()
    return {
        rule
        for network, subnet in pairs
        for rule in (
            Rule("return", network, network),
            Rule("masquerade", network, MULTICAST[network.family], not_destination=True),
            Rule("return", network, subnet, not_source=True),
            Rule("masquerade", network, network, not_source=True),
        )
    }


@dataclass(frozen=True, slots=True)
class ChainView:
    """One chain of one family as it is, seen from the network that has ``networks``."""

    chain: FlannelChain
    wanted: tuple[Rule, ...]
    seen: Chains
    networks: tuple[Prefix, ...]
    """Ours, and what it was before."""
    old: Set[Rule] = frozenset()
    """What an old flannel may have left in the calling chain."""

    @classmethod
    def of(cls, chain: FlannelChain, rules: RuleSet, family: Family, seen: Chains) -> Self:
        """The view for ``rules``."""
        networks = rules.networks(family)
        wanted = wanted_rules(chain, rules, family)
        return cls(chain, wanted, seen, networks, _old_rules(chain, rules.pairs(family)))

    @property
    def jumps(self) -> list[SeenRule]:
        """Those of the calling chain that lead to ours."""
        return [
            found
            for found in self.seen.get(self.chain.caller, ())
            if found.rule is not None and found.rule.chain == self.chain.name
        ]

    @property
    def mine(self) -> list[SeenRule]:
        """The rules of the chain that are about our network."""
        return [found for found in self.seen.get(self.chain.name, ()) if self._is_mine(found)]

    @property
    def others(self) -> list[SeenRule]:
        """The rules of the chain that another network needs."""
        return [
            found
            for found in self.seen.get(self.chain.name, ())
            if not self._is_mine(found) and found.rule != MARK_RULE
        ]

    @property
    def leftovers(self) -> list[SeenRule]:
        """What an old flannel left in the calling chain, if it is all there."""
        found = [r for r in self.seen.get(self.chain.caller, ()) if r.rule in self.old]
        return found if len({r.rule for r in found}) >= 4 else []

    def damage(self, fully_random: bool) -> str | None:
        """What is wrong in a word or two; None if all is right."""
        if self.leftovers:
            return "rules of an old flannel"
        if not self.wanted:
            return self._unwanted()
        if self.chain.name not in self.seen:
            return "chain missing"
        if len(self.jumps) != 1:
            return "jump doubled" if self.jumps else "jump missing"
        return self._wrong_rules(fully_random)

    def _wrong_rules(self, fully_random: bool) -> str | None:
        wanted = [rule for rule in self.wanted if rule != MARK_RULE]
        mine = [found.rule for found in self.mine]
        first = next((found.rule for found in self.seen[self.chain.name]), None)
        unmarked = self.wanted[0] == MARK_RULE != first
        if len(mine) < len(wanted) or unmarked:
            return "rule missing"
        random = {found.fully_random for found in self.mine} - {None}
        return "rule wrong" if mine != wanted or random - {fully_random} else None

    def _unwanted(self) -> str | None:
        if self.mine or (self.chain.name in self.seen and not self.others):
            return "rules left"
        return None

    def _is_mine(self, found: SeenRule) -> bool:
        prefixes = found.rule.prefixes if found.rule is not None else ()
        return bool(prefixes) and all(
            any(network.covers(prefix) for network in self.networks) for prefix in prefixes
        )
