"""A predecessor's rules, of either kind, are replaced without a packet that sees none."""

import json
import sys
from collections.abc import Callable

import pytest

from flannel_sdk.hostnet.firewall import Addresses
from flannel_sdk.hostnet.firewall_options import FirewallKind
from flannel_sdk.model import Prefix
from tests.hostnet.hosts import NODE, OTHER, OUTSIDE, Hosts, everything, keeping, until, watched
from tests.hostnet.predecessors import (
    NEW,
    OLD,
    leave_iptables,
    leave_tables,
    rules_left,
)

pytestmark = pytest.mark.root

PREDECESSORS: dict[str, Callable[[Hosts], None]] = {
    "iptables": lambda hosts: leave_iptables(hosts.node, NEW, "nft"),
    "old-iptables": lambda hosts: leave_iptables(hosts.node, OLD, "nft"),
    "legacy": lambda hosts: leave_iptables(hosts.node, NEW, "legacy"),
    "old-legacy": lambda hosts: leave_iptables(hosts.node, OLD, "legacy"),
    "nftables": lambda hosts: leave_tables(hosts.node),
}


@pytest.mark.parametrize("predecessor", PREDECESSORS)
@pytest.mark.parametrize("kind", ["nftables", "iptables"])
async def test_rules_of_either_kind_are_replaced_without_a_gap(
    hosts: Hosts, kind: FirewallKind, predecessor: str, need: Callable[[str], None]
) -> None:
    for program in ("nft", "iptables-nft", "iptables-legacy"):
        need(program)
    PREDECESSORS[predecessor](hosts)
    with watched(hosts.pod, hosts.outside, str(OUTSIDE.ipv4)) as sources:
        await until(lambda: sources().total() > 20)
        async with keeping(hosts.node, everything(kind)):
            seen = sources().total()
            await until(lambda: sources().total() > seen + 20)
        seen = sources().total()
        await until(lambda: sources().total() > seen + 20)
    assert set(sources()) == {NODE.ipv4}
    left = rules_left(hosts.node)
    tables = hosts.node.exec("nft list tables").split("\n")
    if kind == "nftables":
        assert left == []
        assert [table for table in tables if "flannel" in table] == [
            "table inet flannel-sdk-10.5.0.0/16"
        ]
    else:
        assert [table for table in tables if "flannel" in table] == []
        assert len(left) == 2 * (1 + 7 + 1 + 3)
        assert all(line.startswith("nft ") for line in left)


async def test_d26_from_nftables_to_iptables_and_back(
    hosts: Hosts, need: Callable[[str], None]
) -> None:
    need("iptables-nft")
    kinds: list[FirewallKind] = ["nftables", "iptables", "nftables"]
    for kind in kinds:
        async with keeping(hosts.node, everything(kind)):
            found = hosts.node.exec("nft list tables")
            assert ("flannel-sdk" in found) == (kind == "nftables")
            assert bool(rules_left(hosts.node)) == (kind == "iptables")


@pytest.mark.parametrize("kind", ["nftables", "iptables"])
async def test_what_another_network_needs_stays(
    hosts: Hosts, kind: FirewallKind, need: Callable[[str], None]
) -> None:
    need("iptables-nft")
    need("iptables-legacy")
    for variant in ("nft", "legacy"):
        leave_iptables(hosts.node, NEW, variant)
    leave_tables(hosts.node)
    before = rules_left(hosts.node)
    tables = hosts.node.exec("nft list table ip flannel-ipv4")
    async with keeping(hosts.node, everything(kind), OTHER):
        assert rules_left(hosts.node)[: len(before)] >= before[:1]
        assert [line for line in rules_left(hosts.node) if "10.77" not in line] == before
        assert hosts.node.exec("nft list table ip flannel-ipv4") == tables


@pytest.mark.parametrize("kind", ["nftables", "iptables"])
async def test_rules_for_a_subnet_that_the_node_no_longer_has_go(
    hosts: Hosts, kind: FirewallKind, need: Callable[[str], None]
) -> None:
    """As subnet.env tells of it; in the same network and in another."""
    need("iptables-nft")
    leave_iptables(hosts.node, NEW, "nft")
    before = (
        Addresses(Prefix.parse("10.5.0.0/16"), Prefix.parse("10.5.3.0/24")),
        Addresses(Prefix.parse("fc00::/48"), Prefix.parse("fc00:0:0:3::/64")),
    )
    async with keeping(hosts.node, everything(kind), OTHER, before):
        assert rules_left(hosts.node) == [] or kind == "iptables"
        assert not any("10.5." in line or "fc00:" in line for line in rules_left(hosts.node))


async def test_cleanup_removes_all_of_it_and_nothing_else(
    hosts: Hosts, need: Callable[[str], None]
) -> None:
    for program in ("nft", "iptables-nft", "iptables-legacy"):
        need(program)
    others = ("iptables-nft -A FORWARD -s 192.0.2.1 -j ACCEPT", "nft add table inet somebody")
    for command in others:
        hosts.node.exec(command)
    before = hosts.node.exec("nft -s list ruleset")
    async with keeping(hosts.node, everything("nftables")):
        pass
    for variant in ("nft", "legacy"):
        leave_iptables(hosts.node, NEW, variant)
    leave_tables(hosts.node)
    program = f"{sys.executable} -m flannel_sdk.cli cleanup --json"
    removed = json.loads(hosts.node.exec(program))
    assert len(removed) == 1 + 2 + 4 + 4
    assert rules_left(hosts.node) == []
    assert "flannel" not in hosts.node.exec("nft list tables")
    for line in before.splitlines():
        assert line in hosts.node.exec("nft -s list ruleset")
    assert json.loads(hosts.node.exec(program)) == []
