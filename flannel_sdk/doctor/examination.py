"""The whole examination, layer by layer: an earlier layer's fault is not blamed on a later."""

import time
from dataclasses import dataclass
from pathlib import Path

from flannel_sdk.doctor.findings import Finding, Layer, Report
from flannel_sdk.doctor.kernel_checks import check_kernel, look_up_ways
from flannel_sdk.doctor.node_checks import check_daemon
from flannel_sdk.doctor.patient import Patient, ask_patient
from flannel_sdk.doctor.peer_checks import check_daemons, check_gone
from flannel_sdk.doctor.probes import probe, targets
from flannel_sdk.doctor.store_checks import check_renewal, check_store
from flannel_sdk.doctor.wire_checks import check_paths, devices_by_subnet
from flannel_sdk.errors import KernelError, PermanentError
from flannel_sdk.health.facts import number, part


@dataclass(frozen=True, slots=True)
class Request:
    """What to examine."""

    status_socket: Path
    peer_healthz_port: int | None = None
    """Where the daemons of the peers answer; None: where ours does; 0: they are not asked."""


@dataclass(frozen=True, slots=True)
class Examination:
    """The report, and what the daemon told for it; None where it did not answer."""

    report: Report
    patient: Patient | None


async def examine(request: Request) -> Examination:
    """Examine this node and its ways to all others.

    PrivilegeError without CAP_NET_RAW. Where no daemon answers, that is the finding.
    """
    report = Report()
    try:
        patient = await ask_patient(request.status_socket)
    except PermanentError as error:
        report.add([_no_daemon(error)])
        return Examination(report, None)
    report.node = _about(patient)
    report.add(check_daemon(patient))
    report.add(check_store(patient))
    report.add(await check_gone(patient))
    report.add(check_renewal(patient, time.time()))
    report.add(await check_kernel(patient))
    found = targets(patient)
    report.peers = list({id(target.peer): target.peer for target in found}.values())
    await probe(patient, found, report.blamed)
    report.add(list(check_paths(patient, found, report, await _devices(patient))))
    port = request.peer_healthz_port
    if port is None:
        port = int(number(patient.inspection, "healthz_port") or 0)
    if port:
        daemons = await check_daemons(patient, found, port)
        report.add([finding for finding in daemons if not _is_blamed(report, finding)])
    return Examination(report, patient)


def _is_blamed(report: Report, finding: Finding) -> bool:
    return finding.peer is not None and report.blamed(finding.peer)


async def _devices(patient: Patient) -> dict[str, str]:
    try:
        return devices_by_subnet(await look_up_ways(patient))
    except KernelError:
        return {}  # said by the kernel's own checks


def _about(patient: Patient) -> dict[str, object]:
    status = patient.status
    lease = part(status, "lease")
    return {
        "state": status.get("state"),
        "store": status.get("store"),
        "backend": status.get("backend"),
        "subnets": lease.get("subnets"),
        "public_ips": lease.get("public_ips"),
        "mtu": status.get("mtu"),
        "peers": len(patient.peers),
    }


def _no_daemon(error: PermanentError) -> Finding:
    return Finding(
        Layer.DAEMON,
        f"{str(error)[0].upper()}{str(error)[1:].partition(':')[0]}.",
        "Start flannel-sdk daemon on this node, or name its socket with --status-socket.",
    )
