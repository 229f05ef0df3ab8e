"""Our own nf_tables table: what has to be in it, what is, and its replacement at once."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from flannel_sdk.errors import FlannelError
from flannel_sdk.hostnet.firewall import nft_numbers as n
from flannel_sdk.hostnet.firewall.nft_expressions import encode_rule
from flannel_sdk.hostnet.firewall.nft_socket import (
    BaseChain,
    Change,
    KernelRule,
    NftSocket,
    TableFacts,
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
    """A table of the inet family: its chains by name, and each chain's rules."""

    flags: int = 0
    use: int = 0
    """How many chains it has, and sets and whatever else."""
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
    return TableContent(0, len(chains), tuple(chains), tuple(found))


def read_content(kernel: "Tables", name: str, chains: Iterable[str]) -> TableContent | None:
    """What a table of ours holds in the kernel, of these chains; None where there is none."""
    table = kernel.table(n.NFPROTO_INET, name)
    if table is None:
        return None
    found = [kernel.chain(n.NFPROTO_INET, name, chain) for chain in chains]
    rules = [(rule.chain, rule.expressions) for rule in kernel.rules(n.NFPROTO_INET, name)]
    rules.sort(key=lambda rule: rule[0])  # stable: each chain's order stays
    present = tuple(chain for chain in found if chain is not None)
    return TableContent(table.flags, table.use, present, tuple(rules))


class Tables(Protocol):
    """What it takes to look after one table: ``NftSocket``, or a kernel in memory."""

    def generation(self) -> int:
        """As ``NftSocket.generation``."""
        ...

    def table(self, family: int, name: str) -> TableFacts | None:
        """As ``NftSocket.table``."""
        ...

    def chain(self, family: int, table: str, name: str) -> BaseChain | None:
        """As ``NftSocket.chain``."""
        ...

    def rules(self, family: int, table: str) -> list[KernelRule]:
        """As ``NftSocket.rules``."""
        ...

    def commit(self, changes: Sequence[Change]) -> None:
        """As ``NftSocket.commit``."""
        ...


@dataclass(slots=True)
class NftTable:
    """One table that is kept as it has to be; every call blocks for a millisecond or less."""

    name: str
    wanted: TableContent
    _shown: TableContent | None = field(default=None, init=False)
    """How this kernel shows what was written last: a later one may add what we do not know."""

    def damage(self, kernel: Tables) -> str | None:
        """What is wrong with the table in a word or two; None if it is right."""
        found = self._read(kernel)
        if found is None:
            return "table missing"
        if found in (self.wanted, self._shown):
            return None
        if found.flags != self.wanted.flags:
            return "table switched off"
        if len(found.chains) < len(self.wanted.chains):
            return "chain missing"
        if (found.chains, found.use) != (self.wanted.chains, self.wanted.use):
            return "chain wrong"
        return "rule missing" if len(found.rules) < len(self.wanted.rules) else "rule wrong"

    def write(self, kernel: Tables, others: Sequence[Change] = ()) -> None:
        """Put the table there, in place of what is there, in one transaction with ``others``.

        At every moment either the old rules hold or the new ones.
        """
        before = kernel.generation()
        kernel.commit([*self.replacement(), *others])
        shown = self._read(kernel)
        alone = kernel.generation() == (before + 1) % _GENERATIONS
        self._shown = shown if alone else None

    def _read(self, kernel: Tables) -> TableContent | None:
        return read_content(kernel, self.name, [chain.name for chain in self.wanted.chains])

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
        if kernel.table(n.NFPROTO_INET, name) is not None:
            kernel.commit([delete_table(n.NFPROTO_INET, name)])
