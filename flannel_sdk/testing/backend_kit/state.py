"""What a kernel holds, as lines for people: two states are compared line by line."""

from collections.abc import Collection

from flannel_sdk.dataplane import ROUTE_PROTOCOL
from flannel_sdk.model import IPAddress, MacAddress, Prefix
from flannel_sdk.testing.backend_kit.fake_site import UNDERLAY, MemoryKernel

State = frozenset[str]


def state_of(kernel: MemoryKernel) -> State:
    """All of it but the underlay's own; a device's MAC is left out, for it may be a random one."""
    names = {link.ifindex: link.name for link in kernel.links.values()}
    lines = [
        f"device {link.name} type {link.kind} mtu {link.mtu} {'up' if link.up else 'down'} "
        f"on {names.get(link.lower or 0)} {sorted(link.attributes.items())}"
        for link in kernel.links.values()
        if link.name != UNDERLAY
    ]
    for index, addresses in kernel.addresses_by_index.items():
        lines += [f"address {Prefix(IPAddress(a), n)} on {names[index]}" for a, n in addresses]
    for index, rows in kernel.rows_by_index.items():
        lines += [
            f"neighbour {IPAddress(address)} at {MacAddress(mac)} on {names[index]}"
            for address, mac in rows.items()
        ]
    for index, rows in kernel.fdb_by_index.items():
        lines += [
            f"forwarding of {MacAddress(mac)} to {IPAddress(to)} on {names[index]}"
            for mac, to in rows.items()
        ]
    for (address, length, metric), via in kernel.route_rows.items():
        gateway = IPAddress(via.gateway) if via.gateway else None
        lines.append(
            f"route {Prefix(IPAddress(address), length)} via {gateway} on {names[via.ifindex]}"
            f" metric {metric} protocol {ROUTE_PROTOCOL}"
        )
    for stray in kernel.strays:
        gateway = IPAddress(stray.gateway) if stray.gateway else None
        lines.append(
            f"route {Prefix(IPAddress(stray.address), stray.length)} via {gateway}"
            f" on {names.get(stray.ifindex)} metric {stray.metric} protocol {stray.protocol}"
        )
    return frozenset(lines)


def difference(have: Collection[str], wanted: Collection[str]) -> str:
    """What is missing and what should not be there, for the end of a sentence."""
    missing, wrong = sorted(set(wanted) - set(have)), sorted(set(have) - set(wanted))
    parts = []
    if missing:
        parts.append(f"missing: {_some(missing)}")
    if wrong:
        parts.append(f"should not be there: {_some(wrong)}")
    return "; ".join(parts)


def _some(lines: list[str]) -> str:
    shown = ", ".join(lines[:3])
    return shown + (f" and {len(lines) - 3} more" if len(lines) > 3 else "")
