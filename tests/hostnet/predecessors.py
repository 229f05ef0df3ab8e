"""What flannelds have left in a node's firewall (flannel chapter 8), as their programs load it."""

from collections.abc import Iterable

from flannel_sdk.model import Family
from flannel_sdk.testing.namespaces import Namespace, run

NAMES = {
    Family.IPV4: ("10.5.0.0/16", "10.5.3.0/24", "224.0.0.0/4"),
    Family.IPV6: ("fc00::/48", "fc00:0:0:3::/64", "ff00::/8"),
}

NEW = """*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s {p} -d {n} -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s {n} -d {p} -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s {n} -d {p} -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s {n} ! -d {m} -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s {n} -d {n} -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s {n} -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d {n} -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
"""
"""flanneld 0.22 and later, with iptables."""

OLD = """*nat
-A POSTROUTING -s {n} -d {n} -j RETURN
-A POSTROUTING -s {n} ! -d {m} -j MASQUERADE
-A POSTROUTING ! -s {n} -d {p} -j RETURN
-A POSTROUTING ! -s {n} -d {n} -j MASQUERADE
COMMIT
"""
"""flanneld up to 0.11."""

TABLES = """
table {family} flannel-{name} {{
  comment "rules for flannel-{name}"
  chain postrtg {{
    comment "chain to manage traffic masquerading by flannel"
    type nat hook postrouting priority srcnat;
    meta mark 0x4000 return
    {ip} saddr {p} {ip} daddr {n} return
    {ip} saddr {n} {ip} daddr {p} return
    {ip} saddr != {p} {ip} daddr {n} return
    {ip} saddr {n} {ip} daddr != {m} masquerade fully-random
    {ip} saddr != {n} {ip} daddr {n} masquerade fully-random
  }}
  chain forward {{
    comment "chain to accept flannel traffic"
    type filter hook forward priority filter;
    {ip} saddr {n} accept
    {ip} daddr {n} accept
  }}
}}
"""
"""flanneld 0.26 and later, with EnableNFTables."""


def leave_iptables(
    node: Namespace, text: str, variant: str, families: Iterable[Family] = tuple(Family)
) -> None:
    """Load what a flanneld with iptables leaves; ``variant`` is nft or legacy."""
    for family in families:
        n, p, m = NAMES[family]
        program = f"{'iptables' if family is Family.IPV4 else 'ip6tables'}-{variant}-restore"
        run(
            f"ip netns exec {node.name} {program} --noflush",
            text.format(n=n, p=p, m=m),
        )


def leave_tables(node: Namespace) -> None:
    """Load what a flanneld with nftables leaves."""
    for family in Family:
        n, p, m = NAMES[family]
        ip = "ip" if family is Family.IPV4 else "ip6"
        name = "ipv4" if family is Family.IPV4 else "ipv6"
        text = TABLES.format(family=ip, name=name, ip=ip, n=n, p=p, m=m)
        run(f"ip netns exec {node.name} nft -f -", text)


def rules_left(node: Namespace) -> list[str]:
    """Lines about flannel or its networks in iptables, of both variants and families."""
    lines = []
    for program in ("iptables", "ip6tables"):
        for variant in ("nft", "legacy"):
            saved = node.exec(f"{program}-{variant}-save")
            lines += [f"{variant} {line}" for line in saved.splitlines() if is_flannels(line)]
    return lines


def is_flannels(line: str) -> bool:
    """Whether a line of iptables-save is flannel's."""
    return line.startswith((":", "-")) and any(
        mark in line for mark in ("FLANNEL-", " 10.5.", " fc00:")
    )
