"""The rules as nft and iptables list them, compared with what is kept beside this test."""

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flannel_sdk.errors import KernelUnsupported
from flannel_sdk.hostnet.firewall import choice
from flannel_sdk.hostnet.firewall.nft_socket import NftSocket
from flannel_sdk.hostnet.firewall_options import FirewallKind, FirewallOptions
from flannel_sdk.testing.namespaces import Namespace
from tests.hostnet.hosts import ADDRESSES, everything, keeping

pytestmark = pytest.mark.root

FIXTURES = Path(__file__).parent / "fixtures"
_VARYING = ("handle", "comment")
"""What differs with the history of a table, or with the version of nft."""


async def test_nftables(netns: Namespace, need: Callable[[str], None]) -> None:
    need("nft")
    async with keeping(netns, everything("nftables")):
        document: dict[str, list[dict[str, dict[str, object]]]] = json.loads(
            netns.exec("nft -j list ruleset")
        )
    found = [
        {kind: {key: value for key, value in item.items() if key not in _VARYING}}
        for entry in document["nftables"]
        for kind, item in entry.items()
        if kind != "metainfo"
    ]
    assert found == json.loads((FIXTURES / "nft.json").read_text())


@pytest.mark.parametrize("variant", ["nft", "legacy"])
@pytest.mark.parametrize("program", ["iptables", "ip6tables"])
async def test_iptables(
    netns: Namespace,
    variant: str,
    program: str,
    need: Callable[[str], None],
    usual_iptables: Callable[[str], None],
) -> None:
    need(f"iptables-{variant}")
    usual_iptables(variant)
    async with keeping(netns, everything("iptables")):
        saved = netns.exec(f"{program}-{variant}-save")
    lines = [line for line in saved.splitlines() if not line.startswith("#")]
    # The order of the tables, and which built-in chains there are, differs with the variant.
    tables = "\n".join(line for line in lines if "FLANNEL-" in line or line[0] == "*")
    blocks = sorted(block.strip() for block in tables.split("*") if block.strip())
    assert "\n".join(blocks) + "\n" == (FIXTURES / f"{program}.txt").read_text()


async def test_iptables_is_taken_where_the_kernel_lacks_nftables(
    netns: Namespace,
    need: Callable[[str], None],
    usual_iptables: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need("iptables-legacy")
    usual_iptables("legacy")

    def lacking() -> NftSocket:
        raise KernelUnsupported("this kernel cannot read nf_tables", errno.EOPNOTSUPP)

    monkeypatch.setattr(choice, "NftSocket", lacking)
    async with keeping(netns, everything("auto")) as firewall:
        assert firewall.status()["kind"] == "iptables"
        assert "FLANNEL-POSTRTG" in netns.exec("iptables-legacy-save")


@pytest.mark.parametrize("kind", ["nftables", "iptables"])
async def test_ports_are_not_random_where_that_is_asked(
    netns: Namespace, kind: FirewallKind, need: Callable[[str], None]
) -> None:
    need("iptables-nft")
    options: FirewallOptions = replace(everything(kind), ip_masq_fully_random_disable=True)
    async with keeping(netns, everything(kind)):
        assert "fully-random" in netns.exec("nft list ruleset")
    async with keeping(netns, options):
        listed = netns.exec("nft list ruleset")
        assert "masquerade" in listed
        assert "fully-random" not in listed


@pytest.mark.parametrize("kind", ["nftables", "iptables"])
async def test_each_half_is_there_only_if_asked_for(
    netns: Namespace, kind: FirewallKind, need: Callable[[str], None]
) -> None:
    need("iptables-nft")
    for masquerade, forward in ((True, False), (False, True)):
        options = FirewallOptions(ip_masq=masquerade, iptables_forward_rules=forward, kind=kind)
        async with keeping(netns, options, ADDRESSES):
            listed = netns.exec("nft list ruleset")
            assert ("saddr != " in listed) == masquerade
            assert ("accept\n" in listed.replace("policy accept;", "")) == forward
