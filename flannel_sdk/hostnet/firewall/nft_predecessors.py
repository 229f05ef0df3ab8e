"""What stands in nf_tables that our table replaces: flanneld's tables, iptables-nft's chains."""

from collections.abc import Collection, Iterable
from typing import Final

from flannel_sdk.hostnet.firewall import nft_numbers as n
from flannel_sdk.hostnet.firewall.flannel_chains import (
    FLANNEL_CHAINS,
    FORWARD_CHAIN,
    Chains,
    ChainView,
    FlannelChain,
    SeenRule,
)
from flannel_sdk.hostnet.firewall.nft_decode import decode_rule
from flannel_sdk.hostnet.firewall.nft_socket import (
    Change,
    NftSocket,
    delete_chain,
    delete_rule,
    delete_table,
)
from flannel_sdk.hostnet.firewall.nft_table import network_table
from flannel_sdk.hostnet.firewall.rules import RuleSet
from flannel_sdk.model import Family

FLANNELD_TABLES: Final = {Family.IPV4: "flannel-ipv4", Family.IPV6: "flannel-ipv6"}


def superseded_tables(
    kernel: NftSocket, rules: RuleSet, keep: str | None = None
) -> Iterable[Change]:
    """Remove flanneld's own tables and older ones of ours, if all they name is our network.

    ``keep`` is the table of ours that stays.
    """
    present = kernel.tables()
    for family, name in FLANNELD_TABLES.items():
        if (family, name) in present and _is_ours(kernel, family, name, rules):
            yield delete_table(family, name)
    names = {network_table(network) for family in Family for network in rules.networks(family)}
    for name in sorted(names - {keep}):
        if (n.NFPROTO_INET, name) in present:
            yield delete_table(n.NFPROTO_INET, name)


def _is_ours(kernel: NftSocket, family: Family, name: str, rules: RuleSet) -> bool:
    """Whether a table of flanneld's names no other network; flanneld makes both, used or not."""
    networks = rules.networks(family)
    decoded = (decode_rule(rule.expressions, family).rule for rule in kernel.rules(family, name))
    return all(
        any(network.covers(prefix) for network in networks)
        for rule in decoded
        if rule is not None
        for prefix in rule.prefixes
    )


def read_chains(kernel: NftSocket, family: Family, chain: FlannelChain) -> Chains:
    """One of flannel's chains and its caller, as iptables-nft keeps them."""
    return {
        name: [
            decode_rule(rule.expressions, family, rule.handle)
            for rule in kernel.rules(family, chain.table, name)
        ]
        for name in (chain.name, chain.caller)
        if kernel.chain(family, chain.table, name) is not None
    }


def superseded_chains(
    kernel: NftSocket, rules: RuleSet, forwarding: Collection[Family] = ()
) -> Iterable[Change]:
    """Remove our network's rules from flannel's chains in iptables-nft, and chains left empty.

    Families in ``forwarding`` keep their forward rules.
    """
    for family in Family:
        for chain in FLANNEL_CHAINS:
            if chain is FORWARD_CHAIN and family in forwarding:
                continue
            seen = read_chains(kernel, family, chain)
            yield from _removal(ChainView.of(chain, rules, family, seen), family)


def _removal(view: ChainView, family: Family) -> Iterable[Change]:
    chain = view.chain
    yield from _deletions(view, family, chain.caller, view.leftovers)
    if chain.name not in view.seen:
        return
    if view.others:
        yield from _deletions(view, family, chain.name, view.mine)
        return
    yield from chain_removal(view, family)


def chain_removal(view: ChainView, family: Family) -> Iterable[Change]:
    """Remove a chain that is there with all that is in it, and the jumps to it."""
    chain = view.chain
    yield from _deletions(view, family, chain.caller, view.jumps)
    yield from _deletions(view, family, chain.name, view.seen[chain.name])
    yield delete_chain(family, chain.table, chain.name)


def _deletions(
    view: ChainView, family: Family, name: str, rules: Iterable[SeenRule]
) -> Iterable[Change]:
    for found in rules:
        yield delete_rule(family, view.chain.table, name, found.handle)
