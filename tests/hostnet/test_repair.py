"""Rules that somebody takes away come back, who asks for them live gets others, idle costs none."""

import asyncio
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from flannel_sdk.hostnet.firewall import Addresses, Firewall
from flannel_sdk.hostnet.firewall_options import FirewallKind, FirewallOptions
from flannel_sdk.model import ByFamily, Prefix
from flannel_sdk.testing.namespaces import run
from tests.hostnet.hosts import ADDRESSES, OTHER, Hosts, everything, keeping, until
from tests.hostnet.predecessors import NEW, leave_iptables

pytestmark = pytest.mark.root

TABLE = "inet flannel-sdk-10.5.0.0/16"
PATIENCE = 20.0
"""Seconds; unloaded it takes less than a tenth of one."""

NFT_DAMAGE = {
    "everything flushed": "nft flush ruleset",
    "table deleted": f"nft delete table {TABLE}",
    "table flushed": f"nft flush table {TABLE}",
    "chain deleted": f"nft delete chain {TABLE} forward",
    "rule added": f"nft insert rule {TABLE} postrtg return",
    "table switched off": f"nft add table {TABLE} {{ flags dormant; }}",
}
IPTABLES_DAMAGE = {
    "everything flushed": "nft flush ruleset",
    "nat flushed": "iptables -t nat -F",
    "chain emptied": "iptables -t nat -F FLANNEL-POSTRTG",
    "rule deleted": "iptables -t nat -D FLANNEL-POSTRTG 6",
    "order changed": "iptables -t nat -A FLANNEL-POSTRTG -s 10.5.3.0/24 -d 10.5.0.0/16 -j RETURN",
    "jump doubled": "iptables -t nat -A POSTROUTING -j FLANNEL-POSTRTG",
    "jump deleted": "iptables -D FORWARD 1",
}


@pytest.mark.parametrize("command", NFT_DAMAGE.values(), ids=NFT_DAMAGE)
async def test_nftables_rules_come_back(
    hosts: Hosts, command: str, need: Callable[[str], None]
) -> None:
    need("nft")

    def shown() -> str:
        return hosts.node.exec("nft -s list ruleset")

    async with keeping(hosts.node, everything("nftables")) as firewall:
        before = shown()
        hosts.node.exec(command)
        await until(lambda: shown() == before, PATIENCE)
        await until(lambda: bool(firewall.status()["repairs"]))


@pytest.mark.parametrize("command", IPTABLES_DAMAGE.values(), ids=IPTABLES_DAMAGE)
async def test_iptables_rules_come_back(
    hosts: Hosts, command: str, need: Callable[[str], None]
) -> None:
    need("iptables-nft")
    await _iptables_come_back(hosts, command.replace("iptables", "iptables-nft"), "nft")


@pytest.mark.parametrize("command", ["iptables -t nat -F", "iptables -F FORWARD"])
async def test_legacy_rules_come_back(
    hosts: Hosts,
    command: str,
    need: Callable[[str], None],
    usual_iptables: Callable[[str], None],
) -> None:
    """Nobody tells of changes there: sizes are looked at twice a second, without a process."""
    need("iptables-legacy")
    usual_iptables("legacy")
    await _iptables_come_back(hosts, command.replace("iptables", "iptables-legacy"), "legacy")


async def test_a_lock_that_somebody_holds_is_waited_for(
    hosts: Hosts,
    need: Callable[[str], None],
    usual_iptables: Callable[[str], None],
    xtables_lock: Path,
) -> None:
    need("iptables-legacy")
    usual_iptables("legacy")
    firewall = Firewall(everything("iptables"), netns=hosts.node.path)
    running = asyncio.create_task(firewall.run())
    with xtables_lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        applying = asyncio.create_task(firewall.apply(ADDRESSES))
        await asyncio.wait([applying, running], timeout=0.5)
        assert not applying.done()
        assert not running.done()
    await asyncio.wait_for(applying, 20)
    assert "FLANNEL-POSTRTG" in hosts.node.exec("iptables-legacy-save")
    running.cancel()
    await asyncio.wait([running])


async def _iptables_come_back(hosts: Hosts, command: str, variant: str) -> None:
    def shown() -> list[str]:
        text = "".join(hosts.node.exec(f"{p}-{variant}-save") for p in ("iptables", "ip6tables"))
        return sorted(line for line in text.splitlines() if line.startswith("-A"))

    async with keeping(hosts.node, everything("iptables")):
        before = shown()
        assert len(before) == 2 * (1 + 6 + 1 + 2)
        hosts.node.exec(command)
        assert shown() != before
        await until(lambda: shown() == before, PATIENCE)


@pytest.mark.parametrize("kind", ["nftables", "iptables"])
async def test_other_addresses_replace_the_rules(
    hosts: Hosts, kind: FirewallKind, need: Callable[[str], None]
) -> None:
    need("iptables-nft")
    moved = ADDRESSES._replace(
        ipv4=Addresses(Prefix.parse("10.5.0.0/16"), Prefix.parse("10.5.44.0/24"))
    )
    async with keeping(hosts.node, everything(kind)) as firewall:
        await firewall.apply(moved)
        listed = hosts.node.exec("nft list ruleset")
        assert "10.5.44.0/24" in listed
        assert "10.5.3.0/24" not in listed
        await firewall.apply(OTHER)
        listed = hosts.node.exec("nft list ruleset")
        assert "10.77.1.0/24" in listed
        assert "10.5." not in listed
        assert "fc00:" not in listed


@pytest.mark.parametrize("kind", ["nftables", "iptables"])
async def test_two_networks_on_one_host_keep_their_own_rules(
    hosts: Hosts, kind: FirewallKind, need: Callable[[str], None]
) -> None:
    need("iptables-nft")
    async with (
        keeping(hosts.node, everything(kind)) as one,
        keeping(hosts.node, everything(kind), OTHER) as other,
    ):
        hosts.node.exec("nft flush ruleset")

        def both() -> bool:
            listed = hosts.node.exec("nft list ruleset")
            return all(
                listed.count(f"saddr != {net}") == 2 for net in ("10.5.0.0/16", "10.77.0.0/16")
            )

        await until(both, PATIENCE)
        await until(lambda: bool(one.status()["repairs"] and other.status()["repairs"]))
        before: object = None
        for _ in range(20):
            repairs = one.status()["repairs"], other.status()["repairs"]
            if repairs == before:
                break
            before = repairs
            await asyncio.sleep(0.5)
        else:
            pytest.fail(f"they fight: {before}")
        assert both()


@pytest.mark.parametrize("kind", ["nftables", "iptables"])
async def test_d28_idle_starts_no_process(
    hosts: Hosts,
    kind: FirewallKind,
    need: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Programs that note each start stand in front of the real ones; others may change tables."""
    need("iptables-nft")
    log = tmp_path / "started"
    log.touch()
    for name in ("nft", "iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore") if name != "nft" else ("",):
            shim = tmp_path / f"{name}{suffix}"
            shim.write_text(
                f'#!/bin/sh\necho {shim.name} >>{log}\nexec /usr/sbin/{shim.name} "$@"\n'
            )
            shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = FirewallOptions(
        ip_masq=True, iptables_forward_rules=True, kind=kind, iptables_resync=0.05
    )
    async with keeping(hosts.node, options):
        await asyncio.sleep(0.3)
        started = log.read_text()
        assert bool(started) == (kind == "iptables")
        run(f"ip netns exec {hosts.node.name} /usr/sbin/nft add table inet somebody")
        await asyncio.sleep(0.5)
        assert log.read_text() == started


async def test_a_second_start_writes_nothing(hosts: Hosts, need: Callable[[str], None]) -> None:
    """The rules were left there; the kernel's handles would be others had they been written."""
    need("nft")
    async with keeping(hosts.node, everything("nftables")):
        pass
    before = hosts.node.exec("nft -a list ruleset")
    assert "flannel-sdk" in before
    async with keeping(hosts.node, everything("nftables")):
        assert hosts.node.exec("nft -a list ruleset") == before


async def test_flannelds_chains_are_taken_over_as_they_are(
    hosts: Hosts, need: Callable[[str], None]
) -> None:
    """By iptables: what is right already is not written again."""
    need("iptables-nft")
    leave_iptables(hosts.node, NEW, "nft")
    before = hosts.node.exec("nft -a list ruleset")
    async with keeping(hosts.node, everything("iptables")):
        assert hosts.node.exec("nft -a list ruleset") == before


async def test_with_other_options_the_old_table_goes(
    hosts: Hosts, need: Callable[[str], None]
) -> None:
    need("nft")
    async with keeping(hosts.node, everything("nftables")):
        pass
    async with keeping(hosts.node, FirewallOptions()):
        assert hosts.node.exec("nft list ruleset") == ""


async def test_one_family_has_rules_of_one_family(
    hosts: Hosts, need: Callable[[str], None]
) -> None:
    need("nft")
    only = ByFamily(ipv6=ADDRESSES.ipv6)
    async with keeping(hosts.node, everything("nftables"), only):
        listed = hosts.node.exec("nft list ruleset")
        assert "table inet flannel-sdk-fc00--/48" in listed
        assert "ip saddr" not in listed
