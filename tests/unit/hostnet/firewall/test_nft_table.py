"""Our table on a kernel in memory: what counts as damage, also where it shows more than it got."""

from collections.abc import Sequence

import pytest

from flannel_sdk.hostnet.firewall import Addresses, RuleSet
from flannel_sdk.hostnet.firewall import nft_numbers as n
from flannel_sdk.hostnet.firewall.nft_socket import BaseChain, Change, KernelRule, TableFacts
from flannel_sdk.hostnet.firewall.nft_table import NftTable, network_table, wanted_content
from flannel_sdk.model import ByFamily, Prefix

NAME = "flannel-sdk-10.5.0.0/16"
RULES = RuleSet(
    ByFamily(Addresses(Prefix.parse("10.5.0.0/16"), Prefix.parse("10.5.3.0/24"))),
    masquerade=True,
    forward=True,
)


class FakeTables:
    """Holds what was committed last; ``extra`` is what it adds to each rule that it shows."""

    def __init__(self, extra: bytes = b"") -> None:
        self.extra = extra
        self.number = (1 << 32) - 1
        self.steps = 1
        self.flags = 0
        self.chains: dict[str, BaseChain] = {}
        self.written: list[KernelRule] = []
        self.wanted = wanted_content(NAME, RULES)

    def generation(self) -> int:
        return self.number

    def commit(self, changes: Sequence[Change]) -> None:
        assert [change.kind for change in changes[:3]] == [
            n.NFT_MSG_NEWTABLE,
            n.NFT_MSG_DELTABLE,
            n.NFT_MSG_NEWTABLE,
        ]
        self.number = (self.number + self.steps) % (1 << 32)
        self.chains = {chain.name: chain for chain in self.wanted.chains}
        self.written = [
            KernelRule(chain, 0, expressions) for chain, expressions in self.wanted.rules
        ]

    def table(self, family: int, name: str) -> TableFacts | None:
        assert (family, name) == (n.NFPROTO_INET, NAME)
        return TableFacts(self.flags, len(self.chains)) if self.chains else None

    def chain(self, family: int, table: str, name: str) -> BaseChain | None:
        return self.chains.get(name)

    def rules(self, family: int, table: str, chain: str | None = None) -> list[KernelRule]:
        return [rule._replace(expressions=rule.expressions + self.extra) for rule in self.written]


@pytest.fixture
def table() -> NftTable:
    return NftTable(NAME, wanted_content(NAME, RULES))


def test_what_was_written_is_right(table: NftTable) -> None:
    kernel = FakeTables()
    assert table.damage(kernel) == "table missing"
    table.write(kernel)
    assert table.damage(kernel) is None


def test_a_kernel_that_shows_more_is_taken_by_its_word(table: NftTable) -> None:
    kernel = FakeTables(extra=b"\x08\x00\x63\x00more")
    table.write(kernel)
    assert table.damage(kernel) is None
    kernel.written = kernel.written[1:]
    assert table.damage(kernel) == "rule missing"


def test_unless_somebody_else_wrote_at_the_same_time(table: NftTable) -> None:
    kernel = FakeTables(extra=b"\x08\x00\x63\x00more")
    kernel.steps = 2
    table.write(kernel)
    assert table.damage(kernel) == "rule wrong"


def test_each_damage_has_its_name(table: NftTable) -> None:
    kernel = FakeTables()
    table.write(kernel)
    kernel.flags = 1
    assert table.damage(kernel) == "table switched off"
    table.write(kernel)
    kernel.flags = 0
    forward = kernel.chains.pop("forward")
    assert table.damage(kernel) == "chain missing"
    kernel.chains["forward"] = forward._replace(policy=n.NF_DROP)
    assert table.damage(kernel) == "chain wrong"
    kernel.chains |= {"forward": forward, "other": forward._replace(name="other")}
    assert table.damage(kernel) == "chain wrong"
    del kernel.chains["other"]
    kernel.written.reverse()
    assert table.damage(kernel) == "rule wrong"


def test_names_are_those_that_nft_can_be_told() -> None:
    assert network_table(Prefix.parse("10.5.7.1/16")) == "flannel-sdk-10.5.0.0/16"
    assert network_table(Prefix.parse("fc00::/48")) == "flannel-sdk-fc00--/48"
