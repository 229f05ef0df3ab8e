"""What the rules do to packets, in both families, by nftables and by iptables."""

import asyncio
from collections.abc import Callable

import pytest

from flannel_sdk.hostnet.firewall import iptables_tables
from flannel_sdk.hostnet.firewall_options import FirewallKind, FirewallOptions
from flannel_sdk.model import Family
from tests.hostnet.hosts import (
    FAMILIES,
    MULTICAST,
    NODE,
    OUTSIDE,
    OVERLAY,
    POD,
    POD_GATEWAY,
    REMOTE_POD,
    Hosts,
    everything,
    keeping,
    seen_source,
)

pytestmark = pytest.mark.root

kinds = pytest.mark.parametrize("kind", ["nftables", "iptables"])


@kinds
async def test_d27_only_what_leaves_the_network_gets_the_nodes_address(
    hosts: Hosts, kind: FirewallKind, need: Callable[[str], None]
) -> None:
    if kind == "iptables":
        need("iptables-nft")
    for family in FAMILIES:
        before = _sources(hosts, family)
        assert before["pod to outside"] == POD.get(family)
        assert before["host to remote pod"] == NODE.get(family)
    async with keeping(hosts.node, everything(kind)):
        for family in FAMILIES:
            assert _sources(hosts, family) == {
                "pod to outside": NODE.get(family),
                "pod to remote pod": POD.get(family),
                "remote pod to pod": REMOTE_POD.get(family),
                "outside to pod": OUTSIDE.get(family),
                "outside to remote pod": OVERLAY.get(family),
                "host to pod": POD_GATEWAY.get(family),
                "host to remote pod": OVERLAY.get(family),
                "pod's address to a group": POD_GATEWAY.get(family),
            }


async def test_what_kube_proxy_marks_is_left_to_it(
    hosts: Hosts, need: Callable[[str], None]
) -> None:
    need("nft")
    chain = "{ type filter hook prerouting priority mangle; }"
    hosts.node.exec("nft add table inet proxy")
    hosts.node.exec(f"nft add chain inet proxy marks {chain}")
    hosts.node.exec("nft add rule inet proxy marks meta mark set 0xc004")
    async with keeping(hosts.node, everything("nftables")):
        for family in FAMILIES:
            seen = seen_source(hosts.pod, hosts.outside, str(OUTSIDE.get(family)))
            assert seen == POD.get(family)


@pytest.mark.parametrize("kind", ["auto", "nftables", "iptables"])
@pytest.mark.parametrize("dropping", ["iptables-nft", "iptables-legacy"])
async def test_pods_are_reached_where_iptables_drops_what_is_forwarded(
    hosts: Hosts, kind: FirewallKind, dropping: str, need: Callable[[str], None]
) -> None:
    """As Docker sets it; no rule in a table of ours can let through what another drops."""
    need(dropping)
    hosts.node.exec(f"{dropping} -P FORWARD DROP")
    hosts.node.exec(f"{dropping.replace('ip', 'ip6', 1)} -P FORWARD DROP")
    assert seen_source(hosts.outside, hosts.pod, str(POD.ipv4), patience=0.2) is None
    options = FirewallOptions(iptables_forward_rules=True, kind=kind)
    async with keeping(hosts.node, options):
        for family in FAMILIES:
            seen = seen_source(hosts.outside, hosts.pod, str(POD.get(family)))
            assert seen == OUTSIDE.get(family)


async def test_without_iptables_to_tell_the_status_says_so(
    hosts: Hosts, need: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And all else works."""
    need("iptables-nft")
    hosts.node.exec("iptables-nft -P FORWARD DROP")
    monkeypatch.setattr(iptables_tables, "find_programs", lambda *_: None)
    async with keeping(hosts.node, everything("nftables")) as firewall:
        problem = str(firewall.status()["problem"])
        assert problem.startswith("the tables of iptables (nf_tables, IPv4) have to be changed")
        assert problem.endswith("install iptables")
        seen = seen_source(hosts.pod, hosts.outside, str(OUTSIDE.ipv6))
        assert seen == NODE.ipv6


async def test_a_policy_that_drops_later_is_answered(
    hosts: Hosts, need: Callable[[str], None]
) -> None:
    need("iptables-nft")
    async with keeping(hosts.node, everything("nftables")):
        hosts.node.exec("iptables-nft -P FORWARD DROP")
        ask = asyncio.to_thread(seen_source, hosts.outside, hosts.pod, str(POD.ipv4))
        assert await ask == OUTSIDE.ipv4


def _sources(hosts: Hosts, family: Family) -> dict[str, str | None]:
    """Which address each kind of traffic comes from at its end."""
    node, pod, remote, outside = hosts
    ways = {
        "pod to outside": (pod, outside, OUTSIDE, None),
        "pod to remote pod": (pod, remote, REMOTE_POD, None),
        "remote pod to pod": (remote, pod, POD, None),
        "outside to pod": (outside, pod, POD, None),
        "outside to remote pod": (outside, remote, REMOTE_POD, None),
        "host to pod": (node, pod, POD, None),
        "host to remote pod": (node, remote, REMOTE_POD, NODE),
        "pod's address to a group": (node, outside, MULTICAST, POD_GATEWAY),
    }
    return {
        way: seen_source(
            sender,
            receiver,
            str(destination.get(family)),
            source=str(source.get(family)) if source else "",
        )
        for way, (sender, receiver, destination, source) in ways.items()
    }
