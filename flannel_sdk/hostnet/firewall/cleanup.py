"""Removal of rules that are needed no more, by whatever they were made."""

from contextlib import suppress

from flannel_sdk.errors import FlannelError
from flannel_sdk.hostnet.firewall import nft_numbers as n
from flannel_sdk.hostnet.firewall.nft_socket import NftSocket, delete_table
from flannel_sdk.hostnet.firewall.nft_table import table_name
from flannel_sdk.hostnet.firewall.rules import RuleSet


def remove_own_tables(rules: RuleSet) -> None:
    """Remove our table for these addresses that a run with other options left, if we may."""
    with suppress(FlannelError), NftSocket() as kernel:
        name = table_name(rules)
        if (n.NFPROTO_INET, name) in kernel.tables():
            kernel.commit([delete_table(n.NFPROTO_INET, name)])
