"""What keeps the rules in the kernel: our own table in nf_tables, or flannel's iptables chains.

Blocking, for one thread that is in the right network namespace.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, Protocol

from flannel_sdk.errors import PermanentError
from flannel_sdk.hostnet.firewall.iptables_programs import find_programs
from flannel_sdk.hostnet.firewall.iptables_tables import (
    IptablesTables,
    LegacyVariant,
    NftVariant,
)
from flannel_sdk.hostnet.firewall.nft_predecessors import superseded_chains, superseded_tables
from flannel_sdk.hostnet.firewall.nft_socket import Change, NftSocket
from flannel_sdk.hostnet.firewall.nft_table import NftTable, table_name, wanted_content
from flannel_sdk.hostnet.firewall.rules import RuleSet
from flannel_sdk.model import Family

_LEGACY_POLL: Final = 0.5
"""Seconds between looks at tables that tell nobody of changes."""
PREDECESSOR: Final = "predecessor's rules"
"""What was found where flanneld's own rules had to go."""


class Engine(Protocol):
    """One way to have rules in the kernel."""

    kind: str
    """``nftables`` or ``iptables``."""
    place: str
    """Where the rules are, for people."""
    poll: float
    """Seconds after which to look again where nothing tells of changes."""
    problem: str | None
    """What could not be done and breaks nothing of ours; a sentence."""

    def settle(self, rules: RuleSet) -> list[str]:
        """Bring the kernel to ``rules``; what was wrong, in a word or two each.

        May be called at any time: where nothing has changed it costs some questions to the kernel.
        PermanentError where somebody has to change something first; KernelRefused otherwise.
        """
        ...

    def close(self) -> None:
        """Free descriptors; the rules stay."""
        ...


class NftablesEngine:
    """A table of the inet family for each network, read and written by netlink: no process."""

    kind = "nftables"
    place = ""

    def __init__(self, kernel: NftSocket, resync: float) -> None:
        self._kernel = kernel
        self._nft_variants = [NftVariant(family, kernel) for family in Family]
        self._legacy_variants = legacy_variants(resync)
        self._rules: RuleSet | None = None
        self._table: NftTable | None = None
        self._right: int | None = None
        """The generation in which all of nf_tables was seen to be right."""
        self.poll = resync
        self.problem: str | None = None
        self._nft_problem: str | None = None

    def settle(self, rules: RuleSet) -> list[str]:
        """As ``Engine.settle``."""
        generation = self._kernel.generation()
        new = rules != self._rules
        found: list[str] = []
        if new or generation != self._right:
            found = self._settle_table(rules, new)
            others, self._nft_problem = _settle_beside(self._nft_variants, rules)
            found += others
        # What was written is looked at once more, by the next call.
        self._right = None if found else generation
        others, legacy_problem = _settle_beside(self._legacy_variants, rules)
        self.problem = self._nft_problem or legacy_problem
        self._rules = rules
        return found + others

    def _settle_table(self, rules: RuleSet, new: bool) -> list[str]:
        name = table_name(rules)
        wanted = wanted_content(name, rules)
        table = self._table
        if table is None or (table.name, table.wanted) != (name, wanted):
            table = self._table = NftTable(name, wanted)
            self.place = f"table inet {name}"
        keep = None if rules.empty else name
        others = self._superseded(rules, keep) if new or rules.empty else ()
        damage = None if rules.empty else table.damage(self._kernel)
        if damage is not None:
            table.write(self._kernel, others)
        elif others:
            self._kernel.commit(others)
        return [cause for cause in (damage, PREDECESSOR if others else None) if cause]

    def _superseded(self, rules: RuleSet, keep: str | None) -> Sequence[Change]:
        forwarding = [t.family for t in self._nft_variants if rules.forward and t.drops_forwarded()]
        return (
            *superseded_tables(self._kernel, rules, keep),
            *superseded_chains(self._kernel, rules, forwarding),
        )

    def close(self) -> None:
        """As ``Engine.close``."""
        for tables in self._legacy_variants:
            tables.close()
        self._kernel.close()


class IptablesEngine:
    """flannel's chains in the tables of the host's iptables; a process for a change only."""

    kind = "iptables"
    place = "chains FLANNEL-POSTRTG and FLANNEL-FWD"

    def __init__(self, kernel: NftSocket | None, resync: float, families: Sequence[Family]) -> None:
        """``kernel`` is None where there is no nf_tables. PermanentError without the programs."""
        self._kernel = kernel
        nft = [NftVariant(family, kernel) for family in Family] if kernel else []
        legacy = legacy_variants(resync)
        self._main, self._others = _told_apart([*nft, *legacy], families)
        self._rules: RuleSet | None = None
        self.poll = min(resync, _LEGACY_POLL) if set(legacy) & set(self._main) else resync
        self.problem: str | None = None

    def settle(self, rules: RuleSet) -> list[str]:
        """As ``Engine.settle``."""
        found = [cause for tables in self._main for cause in tables.settle(rules)]
        # The old ones go only now that there are new ones.
        if rules != self._rules and self._kernel:
            changes = list(superseded_tables(self._kernel, rules))
            if changes:
                self._kernel.commit(changes)
                found.append(PREDECESSOR)
        others, self.problem = _settle_beside(self._others, rules)
        self._rules = rules
        return found + others

    def close(self) -> None:
        """As ``Engine.close``."""
        for tables in (*self._main, *self._others):
            tables.close()
        if self._kernel:
            self._kernel.close()


def _settle_beside(
    variants: Iterable[IptablesTables], rules: RuleSet
) -> tuple[list[str], str | None]:
    """Remove our rules from iptables that others replace; what was wrong, and a problem.

    What others accept, iptables may still drop: where it does, the forward rules have to be there.
    """
    found, problem = [], None
    for tables in variants:
        forward = rules.forward and tables.drops_forwarded()
        try:
            found += tables.settle(replace(rules, masquerade=False, forward=forward))
        except PermanentError as error:
            problem = str(error)
    return found, problem


def legacy_variants(resync: float) -> list[LegacyVariant]:
    """The old iptables of each family that this kernel has."""
    found = []
    for family in Family:
        with suppress(OSError):
            found.append(LegacyVariant(family, resync))
    return found


def _told_apart(
    variants: Sequence[IptablesTables], families: Sequence[Family]
) -> tuple[list[IptablesTables], list[IptablesTables]]:
    """The variant of each family that the host's iptables is, and all that it is not."""
    main = []
    for family in families:
        programs = find_programs(family)
        if programs is None:
            raise PermanentError(
                f"masquerade and forward rules for {family} need iptables, which is not installed"
                " here: install it, or leave the rules to nftables (--firewall=nftables)"
            )
        main += [
            tables
            for tables in variants
            if (tables.family, tables.variant) == (family, programs.variant)
        ]
    return main, [tables for tables in variants if tables not in main]
