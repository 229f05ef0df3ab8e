"""What the probes say: which layer swallows what, and what to do."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flannel_sdk.doctor.findings import Finding, Layer, Report, Severity
from flannel_sdk.doctor.kernel_checks import Way
from flannel_sdk.doctor.patient import Patient
from flannel_sdk.doctor.probes import Target
from flannel_sdk.health.facts import number, part, text
from flannel_sdk.probing.udp import Outcome


class _Verdict(NamedTuple):
    """As in a Finding."""

    layer: Layer
    problem: str
    fix: str


_ANSWERED = {Outcome.CLOSED.value, Outcome.REFUSED.value}


def check_paths(
    patient: Patient, found: Sequence[Target], report: Report, devices: dict[str, str]
) -> Iterator[Finding]:
    """One finding for each path that does not work, unless its peer is blamed for less already.

    ``devices``: by which device each subnet is reached.
    """
    for target in found:
        if report.blamed(target.peer.name):
            continue
        if target.path.tunnel_seconds is None:
            yield _silence(patient, target)
            continue
        if target.path.full_mtu is False:
            yield _narrow(patient, target)
        yield from _checksums(target, devices.get(str(target.subnet), "the tunnel's device"))


def _silence(patient: Patient, target: Target) -> Finding:
    """The first cause that the probes prove of a peer's silence in the overlay."""
    port = int(number(part(patient.status, "dataplane"), "udp_port") or 0)
    device = text(patient.status, "interface", "name") or "the interface"
    found = _of_this_node(target) or _of_the_port(target, port) or _of_offload(target, device)
    layer, problem, fix = found or _of_the_rest(target, port)
    unproved = found is None and not port and target.path.underlay_seconds is not None
    severity = Severity.WARNING if unproved else Severity.ERROR
    return Finding(layer, problem, fix, peer=target.peer.name, severity=severity)


def _of_this_node(target: Target) -> _Verdict | None:
    if target.refusal is None and target.path.udp_port != Outcome.BLOCKED.value:
        return None
    why = target.refusal or "a firewall of this node drops it"
    return _Verdict(
        Layer.KERNEL,
        f"This node's kernel does not send to {target.subnet} ({why}).",
        f"See nft list ruleset and ip route get {target.path.address} on this node.",
    )


def _of_the_port(target: Target, port: int) -> _Verdict | None:
    public_ip, outcome = target.public_ip, target.path.udp_port
    if outcome == Outcome.CLOSED.value:
        return _Verdict(
            Layer.PEER,
            f"{public_ip} has nothing on UDP port {port}: its tunnel device is not there.",
            f"Start flannel-sdk daemon on {public_ip}, with the same Backend.Port as here.",
        )
    if outcome == Outcome.REFUSED.value:
        return _Verdict(
            Layer.UNDERLAY,
            f"A firewall on the way to {public_ip} rejects UDP port {port}.",
            f"Allow UDP port {port} between all nodes, both ways.",
        )
    return None


def _of_offload(target: Target, device: str) -> _Verdict | None:
    if not _offload_is_broken(target):
        return None
    return _Verdict(
        Layer.UNDERLAY,
        f"Packets to {target.public_ip} whose checksum is left to {device} are lost, others are"
        " not: checksum offload of the underlay is broken.",
        f"On both nodes: ethtool -K {device} tx off; then look for a newer driver or hypervisor.",
    )


def _of_the_rest(target: Target, port: int) -> _Verdict:
    public_ip = target.public_ip
    if target.path.underlay_seconds is None:
        return _Verdict(
            Layer.UNDERLAY,
            f"{public_ip} answers neither on the underlay nor through the overlay.",
            f"See whether the node is up, and what the underlay does: ip route get {public_ip}.",
        )
    if port:
        return _Verdict(
            Layer.UNDERLAY,
            f"{public_ip} answers pings, but nothing comes back through the overlay: UDP port"
            f" {port} is dropped on the way, or that node does not send back.",
            f"Allow UDP port {port} between all nodes, both ways, in firewalls and security groups;"
            f" if it is, run flannel-sdk doctor on {public_ip}.",
        )
    return _Verdict(
        Layer.PEER,
        f"{public_ip} answers, but no address of {target.subnet} that it should have does.",
        "Nothing is wrong if it has no pod yet; else see that it forwards (sysctl net.ipv4."
        "ip_forward), and what the underlay does to packets between pods' addresses.",
    )


def _narrow(patient: Patient, target: Target) -> Finding:
    mtu = int(number(patient.status, "mtu") or 0)
    underlay = int(number(patient.status, "interface", "mtu") or 0)
    fits = target.path.largest_packet or 0
    overhead = max(0, underlay - mtu)
    return Finding(
        Layer.UNDERLAY,
        f"Packets of {mtu} bytes, the network's MTU, do not get through to {target.public_ip}:"
        f" {fits} bytes is the most that does.",
        f"Raise the MTU of the path to {mtu + overhead} bytes, or set Backend.MTU to"
        f" {fits + overhead} in the network's configuration. The kernel remembers a narrow path"
        " for ten minutes: ip route flush cache, and ip -6 route flush cache.",
        peer=target.peer.name,
    )


def _checksums(target: Target, device: str) -> Iterator[Finding]:
    if _offload_is_broken(target):
        yield Finding(
            Layer.TUNNEL,
            f"Packets to {target.public_ip} whose checksum is left to the device are lost, others"
            " are not: checksum offload is broken on the way.",
            f"On this node: ethtool -K {device} tx-checksum-ip-generic off.",
            peer=target.peer.name,
        )
    elif target.path.checksum_device not in _ANSWERED:
        yield Finding(
            Layer.TUNNEL,
            f"{target.public_ip} answers pings through the overlay, but no UDP: whether checksum"
            " offload works is not proved.",
            "Let its firewall answer closed ports (reject instead of drop) to prove it.",
            peer=target.peer.name,
            severity=Severity.WARNING,
        )


def _offload_is_broken(target: Target) -> bool:
    path = target.path
    return path.checksum_software in _ANSWERED and path.checksum_device not in _ANSWERED


def devices_by_subnet(ways: Sequence[Way]) -> dict[str, str]:
    """The device by which the kernel reaches each subnet."""
    return {str(way.subnet): way.resolved.device for way in ways if way.resolved is not None}
