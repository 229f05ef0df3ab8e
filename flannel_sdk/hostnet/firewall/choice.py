"""Which engine this host gets: nf_tables where the kernel has all of it, else iptables."""

from collections.abc import Sequence

from flannel_sdk.errors import KernelError, KernelUnsupported, PermanentError
from flannel_sdk.hostnet.firewall import nft_numbers as n
from flannel_sdk.hostnet.firewall.engines import Engine, IptablesEngine, NftablesEngine
from flannel_sdk.hostnet.firewall.nft_socket import NftSocket, delete_table
from flannel_sdk.hostnet.firewall.nft_table import NftTable, network_table, wanted_content
from flannel_sdk.hostnet.firewall.rules import RuleSet
from flannel_sdk.hostnet.firewall_options import FirewallKind
from flannel_sdk.model import Family


def open_engine(kind: FirewallKind, rules: RuleSet, resync: float) -> Engine:
    """The engine for rules like ``rules``, in the calling thread's namespace.

    PrivilegeError without CAP_NET_ADMIN; PermanentError, with what to do, where this host lacks
    what is asked for, and with ``auto`` where it lacks both.
    """
    families = rules.addresses.families
    if kind == "iptables":
        return IptablesEngine(_kernel_if_any(), resync, families)
    try:
        return _nftables(rules, resync)
    except KernelError as error:
        if kind == "nftables":
            raise KernelUnsupported(
                f"masquerade and forward rules cannot be made with nftables here ({error}):"
                " use a kernel that has it, or --firewall=iptables",
                error.errno,
            ) from error
        return _iptables_instead(error, families, resync)


def _nftables(rules: RuleSet, resync: float) -> Engine:
    kernel = NftSocket()
    try:
        probe(kernel, rules)
        return NftablesEngine(kernel, resync)
    except BaseException:
        kernel.close()
        raise


def probe(kernel: NftSocket, rules: RuleSet) -> None:
    """Make rules like these and remove them in the same transaction; KernelError where it fails.

    Kernels before 5.2 masquerade in no table that has both families, and before 4.18 not beside
    iptables.
    """
    name = network_table(next(a.network for _, a in rules.addresses.items_by_family())) + "-probe"
    table = NftTable(name, wanted_content(name, rules))
    kernel.commit([*table.replacement(), delete_table(n.NFPROTO_INET, name)])


def _iptables_instead(reason: KernelError, families: Sequence[Family], resync: float) -> Engine:
    try:
        return IptablesEngine(_kernel_if_any(), resync, families)
    except PermanentError as error:
        raise KernelUnsupported(
            f"masquerade and forward rules can be made neither with nftables ({reason}) nor with"
            " iptables, which is not installed: install iptables, or start without them"
            " (--ip-masq=false --iptables-forward-rules=false)",
            reason.errno,
        ) from error


def _kernel_if_any() -> NftSocket | None:
    try:
        kernel = NftSocket()
    except KernelError:
        return None
    try:
        kernel.generation()
    except KernelError:
        kernel.close()
        return None
    except BaseException:
        kernel.close()
        raise
    return kernel
