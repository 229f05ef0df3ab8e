"""Our own nf_tables table: what has to be in it, what is, and its replacement at once."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from flannel_sdk.errors import FlannelError
from flannel_sdk.hostnet.firewall import nft_numbers as n
from flannel_sdk.hostnet.firewall.nft_expressions import encode_rule
from flannel_sdk.hostnet.firewall.nft_socket import (
    BaseChain,
    Change,
    NftSocket,
    append_rule,
    delete_table,
    new_chain,
    new_table,
)
from flannel_sdk.hostnet.firewall.rules import MARK_RULE, RuleSet
from flannel_sdk.model import Prefix

PREFIX: Final = "flannel-sdk-"
"""How the names of all tables of ours begin."""
_GENERATIONS: Final = 1 << 32


def table_name(rules: RuleSet) -> str:
    """The table for one network on this host: several networks have one each."""
    return network_table(next(a.network for _, a in rules.addresses.items_by_family()))


def network_table(network: Prefix) -> str:
    """``flannel-sdk-10.5.0.0/16``; a colon, which nft's syntax does not take, is a dash."""
    return PREFIX + str(network.masked()).replace(":", "-")


@dataclass(frozen=True, slots=True)
class TableContent:
    """A table of the inet family: its flags, its chains by name, and each chain's rules."""

    flags: int = 0
    chains: tuple[BaseChain, ...] = ()
    rules: tuple[tuple[str, bytes], ...] = ()
    """Name of the chain and expressions, chains by name, rules in order."""


def wanted_content(name: str, rules: RuleSet) -> TableContent:
    """What the table has to hold for ``rules``."""
    chains: list[BaseChain] = []
    found: list[tuple[str, bytes]] = []
    families = rules.addresses.families
    if rules.forward:
        hook = (n.NF_INET_FORWARD, n.NF_IP_PRI_FILTER, n.NF_ACCEPT)
        chains.append(BaseChain(n.NFPROTO_INET, name, "forward", "filter", *hook))
        found += [
            ("forward", encode_rule(rule))
            for family in families
            for rule in rules.forward_rules(family)
        ]
    if rules.masquerade:
        hook = (n.NF_INET_POST_ROUTING, n.NF_IP_PRI_NAT_SRC, n.NF_ACCEPT)
        chains.append(BaseChain(n.NFPROTO_INET, name, "postrtg", "nat", *hook))
        found.append(("postrtg", encode_rule(MARK_RULE)))
        found += [
            ("postrtg", encode_rule(rule, fully_random=rules.fully_random))
            for family in families
            for rule in rules.masquerade_rules(family)
        ]
    return TableContent(0, tuple(chains), tuple(found))


def read_content(kernel: NftSocket, name: str) -> TableContent | None:
    """What a table of ours holds in the kernel; None where there is none."""
    flags = kernel.tables().get((n.NFPROTO_INET, name))
    if flags is None:
        return None
    chains = [c for c in kernel.chains() if (c.family, c.table) == (n.NFPROTO_INET, name)]
    rules = [(rule.chain, rule.expressions) for rule in kernel.rules(n.NFPROTO_INET, name)]
    rules.sort(key=lambda rule: rule[0])  # stable: each chain's order stays
    return TableContent(flags, tuple(sorted(chains, key=lambda c: c.name)), tuple(rules))


@dataclass(slots=True)
class NftTable:
    """One table that is kept as it has to be; every call blocks for a millisecond or less."""

    name: str
    wanted: TableContent
    _shown: TableContent | None = field(default=None, init=False)
    """How this kernel shows what was written last: a later one may add what we do not know."""

    def damage(self, kernel: NftSocket) -> str | None:
        """What is wrong with the table in a word or two; None if it is right."""
        found = read_content(kernel, self.name)
        if found is None:
            return "table missing"
        if found in (self.wanted, self._shown):
            return None
        if found.flags != self.wanted.flags:
            return "table switched off"
        if found.chains != self.wanted.chains:
            return "chain missing" if len(found.chains) < len(self.wanted.chains) else "chain wrong"
        return "rule missing" if len(found.rules) < len(self.wanted.rules) else "rule wrong"

    def write(self, kernel: NftSocket, others: Sequence[Change] = ()) -> None:
        """Put the table there, in place of what is there, in one transaction with ``others``.

        At every moment either the old rules hold or the new ones.
        """
        before = kernel.generation()
        kernel.commit([*self.replacement(), *others])
        shown = read_content(kernel, self.name)
        alone = kernel.generation() == (before + 1) % _GENERATIONS
        self._shown = shown if alone else None

    def replacement(self) -> list[Change]:
        """The changes that make the table anew, whether it is there or not."""
        comment = "masquerade and forward rules of flannel-sdk, which puts them back"
        family, name = n.NFPROTO_INET, self.name
        # Made first so that it can be removed whether it was there or not.
        changes = [new_table(family, name), delete_table(family, name)]
        changes.append(new_table(family, name, comment))
        changes += [new_chain(chain) for chain in self.wanted.chains]
        changes += [append_rule(family, name, *rule) for rule in self.wanted.rules]
        return changes


def remove_own_table(rules: RuleSet) -> None:
    """Remove our table for these addresses that a run with other options left, if we may."""
    with suppress(FlannelError), NftSocket() as kernel:
        name = table_name(rules)
        if (n.NFPROTO_INET, name) in kernel.tables():
            kernel.commit([delete_table(n.NFPROTO_INET, name)])
