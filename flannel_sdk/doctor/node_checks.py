"""The daemon of this node: does it run, hold its lease, hear its store."""

from collections.abc import Iterator

from flannel_sdk.doctor.findings import Finding, Layer, Severity
from flannel_sdk.doctor.patient import Patient
from flannel_sdk.health.facts import number, text
from flannel_sdk.health.options import HealthOptions
from flannel_sdk.health.readiness import problems

_LOG = "journalctl -u flannel-sdk, or the pod's log, says more"


def check_daemon(patient: Patient) -> Iterator[Finding]:
    """Findings of the layer ``daemon``."""
    status = patient.status
    for problem in problems(status, HealthOptions()):
        yield Finding(
            Layer.DAEMON,
            f"The daemon is not ready: {problem}.",
            f"See to what it names; {_LOG}.",
        )
    for name, subject in (("interface", "the underlay"), ("firewall", "the firewall's rules")):
        ailment = text(status, name, "problem")
        if ailment is not None:
            yield Finding(
                Layer.DAEMON,
                f"Something ails {subject}: {ailment.removesuffix('.')}.",
                f"See to what it names; {_LOG}.",
                severity=Severity.WARNING,
            )
    restarts = number(status, "restarts")
    if restarts:
        yield Finding(
            Layer.DAEMON,
            f"The data plane stopped {restarts:.0f} times since the daemon started.",
            f"Look for 'the data plane stopped' in its log: {_LOG}.",
            severity=Severity.WARNING,
        )
    for name, said in (("restart_needed", "needs a restart"), ("refused", "cannot be used")):
        reason = text(status, "config", name)
        if reason:
            yield Finding(
                Layer.DAEMON,
                f"The newest network configuration {said}: {reason}.",
                "Restart the daemon, or put a configuration that it can use"
                " (flannel-sdk config put).",
            )
