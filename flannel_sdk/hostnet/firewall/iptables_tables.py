"""iptables' tables of one family and variant: read without a process, changed by programs."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable
from contextlib import suppress

from flannel_sdk.errors import KernelRefused, PermanentError
from flannel_sdk.hostnet.firewall import nft_numbers as n
from flannel_sdk.hostnet.firewall.flannel_chains import (
    FLANNEL_CHAINS,
    FORWARD_CHAIN,
    Chains,
    ChainView,
    FlannelChain,
)
from flannel_sdk.hostnet.firewall.iptables_programs import (
    IptablesPrograms,
    Variant,
    find_programs,
)
from flannel_sdk.hostnet.firewall.iptables_text import (
    parse_saved,
    restore_lines,
    restore_text,
)
from flannel_sdk.hostnet.firewall.legacy_tables import LegacyTables, legacy_tables
from flannel_sdk.hostnet.firewall.nft_predecessors import read_chains
from flannel_sdk.hostnet.firewall.nft_socket import NftSocket
from flannel_sdk.hostnet.firewall.rules import RuleSet
from flannel_sdk.model import Family


def set_right(programs: IptablesPrograms, rules: RuleSet) -> list[str]:
    """Bring flannel's chains into the state that ``rules`` want; what was wrong in words.

    One process if all is right, two if not.
    """
    tables = parse_saved(programs.saved(), programs.family)
    random = rules.fully_random and programs.fully_random
    found = []
    changes = []
    for chain in FLANNEL_CHAINS:
        seen = tables.get(chain.table, {})
        view = ChainView.of(chain, rules, programs.family, seen)
        if (damage := view.damage(random)) is not None:
            found.append(damage)
            changes.append((chain.table, restore_lines(view, fully_random=random)))
    if text := restore_text(changes):
        programs.apply(text)
    return found


class IptablesTables(ABC):
    """The tables of one variant of iptables for one family; blocking, in one namespace.

    Nothing is started unless something has changed since what was there was last seen to be right.
    """

    variant: Variant

    def __init__(self, family: Family) -> None:
        self.family = family
        self._programs: IptablesPrograms | None = None
        self._right: tuple[Hashable, RuleSet] | None = None
        """What was there when it was as it should be, and for which rules."""

    def settle(self, rules: RuleSet) -> list[str]:
        """Set right what is not as ``rules`` want it; what was wrong in words.

        PermanentError where that needs programs which are not installed.
        """
        state = self._state(rules)
        if self._right == (state, rules):
            return []
        if self._seems_right(rules):
            self._right = state, rules
            return []
        found = set_right(self.programs(), rules)
        # What was written is looked at once more, by the next call.
        self._right = None if found else (state, rules)
        return found

    def programs(self) -> IptablesPrograms:
        """The programs of this variant; PermanentError where they are not installed."""
        if self._programs is None:
            self._programs = find_programs(self.family, self.variant)
        if self._programs is None:
            raise PermanentError(
                f"the tables of iptables ({self.variant}, {self.family}) have to be changed, and"
                " its programs are not there: install iptables"
            )
        return self._programs

    @abstractmethod
    def drops_forwarded(self) -> bool:
        """Whether FORWARD drops what no rule accepts."""

    @abstractmethod
    def _state(self, rules: RuleSet) -> Hashable:
        """Something that is another one when the tables are."""

    @abstractmethod
    def _seems_right(self, rules: RuleSet) -> bool:
        """Whether what ``_state`` has seen is as ``rules`` want it; False also if none can tell."""

    def close(self) -> None:  # noqa: B027  # only one variant opens something
        """Free what was opened."""


class NftVariant(IptablesTables):
    """iptables-nft: its tables are nf_tables', which can be read."""

    variant = "nf_tables"

    def __init__(self, family: Family, kernel: NftSocket) -> None:
        super().__init__(family)
        self._kernel = kernel
        self._seen: dict[FlannelChain, Chains] = {}

    def drops_forwarded(self) -> bool:
        """Whether FORWARD drops what no rule accepts."""
        found = self._kernel.chain(self.family, FORWARD_CHAIN.table, FORWARD_CHAIN.caller)
        return found is not None and found.kind == "filter" and found.policy == n.NF_DROP

    def _state(self, rules: RuleSet) -> Hashable:
        self._seen = {
            chain: read_chains(self._kernel, self.family, chain) for chain in FLANNEL_CHAINS
        }
        return tuple(
            (name, tuple(seen)) for chains in self._seen.values() for name, seen in chains.items()
        )

    def _seems_right(self, rules: RuleSet) -> bool:
        return not any(
            ChainView.of(chain, rules, self.family, seen).damage(rules.fully_random)
            for chain, seen in self._seen.items()
        )


class LegacyVariant(IptablesTables):
    """The old iptables: the kernel gives its tables away as bytes, which tells of changes."""

    variant = "legacy"

    def __init__(self, family: Family, resync: float) -> None:
        """``resync``: seconds between looks at all bytes; between them only sizes are looked at."""
        super().__init__(family)
        self._resync = resync
        self._tables = LegacyTables(family)
        self._looked = -math.inf
        self._sizes: Hashable = None
        self._prints: Hashable = None
        self._searched: RuleSet | None = None

    def drops_forwarded(self) -> bool:
        """Whether FORWARD drops what no rule accepts."""
        with suppress(KernelRefused):
            return "filter" in legacy_tables(self.family) and self._tables.drops_forwarded()
        return False

    def _state(self, rules: RuleSet) -> Hashable:
        present = self._present()
        sizes = tuple((table, self._tables.size(table)) for table in present)
        now = time.monotonic()
        if sizes != self._sizes or now - self._looked >= self._resync or self._right is None:
            self._prints = tuple((table, self._tables.fingerprint(table)) for table in present)
            self._sizes, self._looked = sizes, now
        return self._prints

    def _seems_right(self, rules: RuleSet) -> bool:
        if not rules.empty:
            return False
        if self.has_flannel_chains():
            return False
        # A flannel up to 0.11 made no chains: that takes the programs to see, once.
        if self._searched == rules or not self._present():
            return True
        self._searched = rules
        return find_programs(self.family, self.variant) is None

    def has_flannel_chains(self) -> bool:
        """Whether a chain of flannel's is there, of whatever network."""
        return any(self._tables.mentions(table, "FLANNEL-") for table in self._present())

    def _present(self) -> list[str]:
        return sorted(legacy_tables(self.family) & {chain.table for chain in FLANNEL_CHAINS})

    def close(self) -> None:
        """Free what was opened."""
        self._tables.close()
