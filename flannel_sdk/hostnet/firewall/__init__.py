"""Masquerade and forward rules of this host (flannel chapter 8), in nf_tables or iptables."""

from flannel_sdk.hostnet.firewall.firewall import Firewall
from flannel_sdk.hostnet.firewall.rules import Addresses, RuleSet

__all__ = ["Addresses", "Firewall", "RuleSet"]
