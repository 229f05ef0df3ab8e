"""The layers daemon, store, desired and peer, as far as the daemon's own answers show them."""

from typing import Any

import pytest

from flannel_sdk.doctor.findings import Finding, Layer, Severity
from flannel_sdk.doctor.node_checks import check_daemon
from flannel_sdk.doctor.store_checks import check_renewal, check_store, gone_peers
from tests.unit.doctor.patients import PEER, PUBLIC_IP, SUBNET, patient


def the_one(findings: list[Finding]) -> Finding:
    (finding,) = findings
    assert finding.problem.endswith(".")
    assert finding.fix.endswith(".")
    return finding


def test_a_healthy_daemon_has_no_findings() -> None:
    well = patient()
    assert [*check_daemon(well), *check_store(well), *check_renewal(well, 0.0)] == []
    assert list(gone_peers(well)) == []


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"keeper": {"holds": False}}, "it holds no lease"),
        ({"store_contact": {"heard_seconds_ago": 500.0}}, "was not heard for 500 s"),
        ({"config": {"restart_needed": "the backend differs"}}, "the backend differs"),
        ({"config": {"refused": "Port is text"}}, "cannot be used: Port is text"),
    ],
)
def test_what_ails_the_daemon_itself(status: dict[str, Any], says: str) -> None:
    finding = the_one(list(check_daemon(patient(status=status))))
    assert (finding.layer, finding.severity) == (Layer.DAEMON, Severity.ERROR)
    assert says in finding.problem


@pytest.mark.parametrize("name", ["interface", "firewall"])
def test_what_ails_the_host_is_a_warning(name: str) -> None:
    finding = the_one(
        list(check_daemon(patient(status={name: {"problem": "eth0 is gone.", "settled": True}})))
    )
    assert finding.severity is Severity.WARNING
    assert "eth0 is gone." in finding.problem


def test_restarts_of_the_data_plane_are_a_warning() -> None:
    finding = the_one(list(check_daemon(patient(status={"restarts": 3}))))
    assert finding.severity is Severity.WARNING
    assert "3 times" in finding.problem


@pytest.mark.parametrize(
    ("store", "layer", "says", "peer"),
    [
        ({"error": "no member answers."}, Layer.STORE, "cannot be read: no member answers.", None),
        ({"own": "absent"}, Layer.STORE, "has no entry for 10.5.1.0/24", None),
        ({"own": "differs"}, Layer.STORE, "another entry for 10.5.1.0/24", None),
        (
            {"malformed": [{"key": "10.5.9.0-24", "reason": "it is not JSON"}]},
            Layer.STORE,
            "10.5.9.0-24 of etcd:a cannot be read: it is not JSON.",
            None,
        ),
        (
            {"refused": [{"subnets": [SUBNET], "reason": "its public IP is loopback"}]},
            Layer.STORE,
            "is not believed: its public IP is loopback.",
            SUBNET,
        ),
        ({"missing": [PEER]}, Layer.DESIRED, "not among the daemon's peers", SUBNET),
        ({"extra": [PEER]}, Layer.DESIRED, "not in the store", SUBNET),
        ({"differing": [PEER]}, Layer.DESIRED, "says other things", SUBNET),
    ],
)
def test_each_difference_has_its_layer(
    store: dict[str, Any], layer: Layer, says: str, peer: str | None
) -> None:
    finding = the_one(list(check_store(patient(store=store))))
    assert (finding.layer, finding.peer) == (layer, peer)
    assert says in finding.problem


def test_peers_of_another_backend_are_named_by_their_reason() -> None:
    refused = {"peers": {"refused": {"its backend is 'host-gw', not 'vxlan'": 4}}}
    finding = the_one(list(check_store(patient(dataplane=refused))))
    assert finding.layer is Layer.DESIRED
    assert "4 peers" in finding.problem
    assert "same backend" in finding.fix


def test_a_daemon_that_cannot_say_what_its_store_holds() -> None:
    finding = the_one(list(check_store(patient(refusals={"inspect": "unknown command"}))))
    assert finding.layer is Layer.DAEMON
    assert "unknown command" in finding.problem


def test_a_lease_that_nobody_renews_is_its_daemons_fault() -> None:
    hour_left = 90_000.0 - 3600.0
    assert list(check_renewal(patient(), hour_left)) == []
    finding = the_one(list(check_renewal(patient(), 90_000.0 - 600.0)))
    assert (finding.layer, finding.peer) == (Layer.PEER, SUBNET)
    assert f"{PUBLIC_IP} ends in 10 min" in finding.problem


def test_a_node_that_leases_anew_is_not_missed() -> None:
    gone = PEER | {"subnets": ["10.5.7.0/24"], "seconds_ago": 5.0}
    assert list(gone_peers(patient(store={"gone": [gone]}))) == []
    assert list(gone_peers(patient(store={"gone": [gone]}, peers=[]))) == [gone]
    old = gone | {"seconds_ago": 100_000.0}
    assert list(gone_peers(patient(store={"gone": [old]}, peers=[]))) == []
