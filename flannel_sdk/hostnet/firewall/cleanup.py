"""Removal of all rules that were left on this host, by whatever they were made."""

from collections.abc import Iterable, Sequence
from contextlib import closing, suppress

from flannel_sdk.errors import KernelUnsupported
from flannel_sdk.hostnet.firewall import nft_numbers as n
from flannel_sdk.hostnet.firewall.engines import legacy_variants
from flannel_sdk.hostnet.firewall.flannel_chains import FLANNEL_CHAINS, ChainView
from flannel_sdk.hostnet.firewall.iptables_tables import LegacyVariant
from flannel_sdk.hostnet.firewall.iptables_text import parse_saved, removal_lines, restore_text
from flannel_sdk.hostnet.firewall.nft_predecessors import (
    FLANNELD_TABLES,
    chain_removal,
    read_chains,
)
from flannel_sdk.hostnet.firewall.nft_socket import Change, NftSocket, delete_table
from flannel_sdk.hostnet.firewall.nft_table import PREFIX
from flannel_sdk.model import Family


def remove_all() -> list[str]:
    """Remove all rules of ours and of flanneld's from this host; what was removed, for people.

    In nf_tables, in iptables-nft and in the old iptables, of all networks, in the calling thread's
    namespace. PrivilegeError without the right to; PermanentError where that takes programs of
    iptables which are not installed.
    """
    removed = []
    with suppress(KernelUnsupported), NftSocket() as kernel:
        found = [*_tables(kernel), *_nft_chains(kernel)]
        changes = [change for _, part in found for change in part]
        if changes:
            kernel.commit(changes)
        removed += [name for name, _ in found]
    for variant in legacy_variants(0.0):
        with closing(variant):
            removed += _remove_legacy(variant)
    return removed


def _tables(kernel: NftSocket) -> Iterable[tuple[str, Sequence[Change]]]:
    for family, name in kernel.tables():
        if family == n.NFPROTO_INET and name.startswith(PREFIX):
            yield f"nftables table inet {name}", [delete_table(family, name)]
        elif any((family, name) == flanneld for flanneld in FLANNELD_TABLES.items()):
            kind = "ip" if family == Family.IPV4 else "ip6"
            yield f"nftables table {kind} {name}", [delete_table(family, name)]


def _nft_chains(kernel: NftSocket) -> Iterable[tuple[str, Sequence[Change]]]:
    for family in Family:
        for chain in FLANNEL_CHAINS:
            seen = read_chains(kernel, family, chain)
            if chain.name in seen:
                view = ChainView(chain, (), seen, ())
                name = f"iptables-nft chain {chain.name} ({family})"
                yield name, list(chain_removal(view, family))


def _remove_legacy(variant: LegacyVariant) -> list[str]:
    if not variant.has_flannel_chains():
        return []
    programs = variant.programs()
    tables = parse_saved(programs.saved(), variant.family)
    views = [ChainView(chain, (), tables.get(chain.table, {}), ()) for chain in FLANNEL_CHAINS]
    views = [view for view in views if view.chain.name in view.seen]
    programs.apply(restore_text((view.chain.table, removal_lines(view)) for view in views))
    return [f"iptables-legacy chain {view.chain.name} ({variant.family})" for view in views]
