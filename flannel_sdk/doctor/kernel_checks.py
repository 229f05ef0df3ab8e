"""The kernel beside what the daemon wants, and beside where it really sends to each peer."""

import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flannel_sdk.dataplane import LinuxKernel, ResolvedRoute
from flannel_sdk.doctor.findings import Finding, Layer
from flannel_sdk.doctor.patient import Patient
from flannel_sdk.errors import KernelError
from flannel_sdk.health.facts import Status, counts, first, number, part, text, texts
from flannel_sdk.model import IPAddress, Prefix
from flannel_sdk.netns import run_in_netns

_MISSING = {"add": "is missing", "change": "is another than it should be", "remove": "is stale"}
_FIXES = {
    "device": "ip -details monitor link shows who touches it",
    "address": "ip monitor address shows who touches it",
    "route": "ip monitor route shows who; NetworkManager and systemd-networkd"
    " (ManageForeignRoutes=no) do so unless told to leave it",
    "neighbour": "ip monitor neigh shows who touches it",
    "fdb": "bridge monitor fdb shows who touches it",
}


def check_plan(patient: Patient) -> Iterator[Finding]:
    """What the daemon itself would change in the kernel now, and again a moment later."""
    plane = part(patient.status, "dataplane")
    if not patient.plans:
        return
    fought = number(plane, "missing_seconds") is not None
    needed = 1 if fought else len(patient.plans)
    seen = Counter(_described(change) for plan in patient.plans for change in plan)
    stuck = [change for change, times in seen.items() if times >= needed]
    for change in stuck:
        yield _finding(change, patient)
    if fought and not stuck:
        why = text(plane, "node_problem") or ", ".join(counts(plane, "failed", "reasons"))
        yield Finding(
            Layer.KERNEL,
            "Something of ours in the kernel is taken away or refused again and again"
            + (f": {why}." if why else "."),
            "ip monitor and bridge monitor show who touches it; the daemon's log names it.",
        )


@dataclass(frozen=True, slots=True)
class _Change:
    action: str
    kind: str
    subject: str


def _described(change: Status) -> _Change:
    values = (text(change, name) or "?" for name in ("action", "kind", "subject"))
    return _Change(*values)


def _finding(change: _Change, patient: Patient) -> Finding:
    fix = f"The daemon puts this right unless it is undone: {_FIXES.get(change.kind, 'see who')}."
    if reasons := counts(patient.status, "dataplane", "failed", "reasons"):
        fix = f"The kernel refuses: {', '.join(reasons)}. {fix}"
    return Finding(
        Layer.KERNEL,
        f"The {change.kind} {change.subject} {_MISSING.get(change.action, 'is wrong')}.",
        fix,
        peer=_owner(change, patient),
    )


def _owner(change: _Change, patient: Patient) -> str | None:
    """The peer whose object it is: by its subnet, its base address, or the MAC it publishes."""
    key = change.subject.partition(" ")[0]
    for peer in patient.peers:
        subnets = texts(peer, "subnets")
        bases = [subnet.partition("/")[0] for subnet in subnets]
        data = " ".join(map(str, _list(peer, "backend_data"))).lower()
        if key in {*subnets, *bases} or (change.kind == "fdb" and key.lower() in data):
            return subnets[0]
    return None


def _list(status: Status, name: str) -> list[object]:
    found = status.get(name)
    return found if isinstance(found, list) else []


@dataclass(frozen=True, slots=True)
class Way:
    """How the kernel reaches one address of a peer, and how the route to its subnet says."""

    peer: str
    subnet: Prefix
    resolved: ResolvedRoute | None
    expected: str | None
    """The device of the narrowest route of ours that covers the subnet; None without one."""


async def look_up_ways(patient: Patient) -> list[Way]:
    """Ask the kernel, not the daemon; KernelError if it cannot be read."""
    subnets = [
        (first(peer, "subnets"), Prefix.parse(subnet))
        for peer in patient.peers
        for subnet in texts(peer, "subnets")
    ]
    if not subnets:
        return []
    kernel = LinuxKernel(patient.netns)
    try:
        bases = [subnet.address for _, subnet in subnets]
        resolved = await kernel.lookup_routes(bases)
        devices = await _devices_of_routes(kernel, patient)
    finally:
        await kernel.aclose()
    return [
        Way(peer, subnet, resolved.get(subnet.address), _device_towards(subnet, devices))
        for peer, subnet in subnets
    ]


def _device_towards(subnet: Prefix, devices: Mapping[Prefix, str]) -> str | None:
    if (exact := devices.get(subnet)) is not None:
        return exact
    covering = [route for route in devices if route.length and route.covers(subnet)]
    return devices[max(covering, key=lambda route: route.length)] if covering else None


async def _devices_of_routes(kernel: LinuxKernel, patient: Patient) -> Mapping[Prefix, str]:
    """The device of each route of the main table that is of the daemon's form."""
    routes = await kernel.routes()
    indexes = {via.ifindex for via in routes.rows.values()}

    names = dict(run_in_netns(patient.netns, socket.if_nameindex))
    known = {index: names[index] for index in indexes & names.keys()}
    return {
        Prefix(IPAddress(address), length): known[via.ifindex]
        for (address, length, _), via in routes.rows.items()
        if via.ifindex in known
    }


def check_ways(ways: list[Way], *, routed: bool = True) -> Iterator[Finding]:
    """Routes that the kernel lacks, and addresses that it sends elsewhere in spite of them.

    ``routed``: whether each peer has a route of its own, and not the network as a whole.
    """
    for way in ways:
        subnet, resolved = way.subnet, way.resolved
        if way.expected is None and resolved is not None and not routed:
            continue
        if way.expected is None and routed:
            yield Finding(
                Layer.KERNEL,
                f"The kernel has no route of ours to {subnet}.",
                "Run flannel-sdk plan; the daemon puts this right unless it is undone"
                f" ({_FIXES['route']}).",
                peer=way.peer,
            )
        elif resolved is None or resolved.device != way.expected:
            device = way.expected or "the tunnel's device"
            actual = f"sends to it by {resolved.device}" if resolved else "refuses to send to it"
            yield Finding(
                Layer.KERNEL,
                f"{subnet} should be reached by {device}, but the kernel {actual}.",
                f"Look for a rule or a narrower route: ip rule; ip route get {subnet.address}.",
                peer=way.peer,
            )


async def check_kernel(patient: Patient) -> list[Finding]:
    """All findings of the layer ``kernel`` that need no packet."""
    findings = list(check_plan(patient))
    blamed = {finding.peer for finding in findings}
    try:
        ways = await look_up_ways(patient)
    except KernelError as error:
        return [
            *findings,
            Finding(Layer.KERNEL, f"The kernel cannot be read: {error}.", "Run doctor as root."),
        ]
    routed = bool(number(patient.status, "dataplane", "desired", "route"))
    more = [found for found in check_ways(ways, routed=routed) if found.peer not in blamed]
    return [*findings, *more]
