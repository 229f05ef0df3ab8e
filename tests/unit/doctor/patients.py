"""Daemons' answers for tests of single checks."""

from typing import Any

from flannel_sdk.doctor.patient import Patient

SUBNET = "10.5.2.0/24"
PUBLIC_IP = "192.0.2.2"
MAC = "aa:bb:cc:dd:ee:ff"
PEER: dict[str, Any] = {
    "subnets": [SUBNET],
    "public_ips": [PUBLIC_IP],
    "backend": "vxlan",
    "backend_data": [f'{{"VNI":1,"VtepMAC":"{MAC}"}}'],
    "expires_at": 90_000.0,
}


def patient(**changes: Any) -> Patient:
    """One peer, all well but for ``changes`` of the status, plans, store or refusals."""
    plane: dict[str, Any] = {
        "missing_seconds": None,
        "node_problem": None,
        "failed": {"count": 0, "reasons": {}},
        "peers": {"known": 1, "refused": {}},
        "udp_port": 8472,
    }
    status: dict[str, Any] = {
        "state": "running",
        "store": "etcd:a",
        "backend": "vxlan",
        "mtu": 1450,
        "interface": {"name": "eth0", "mtu": 1500},
        "lease": {"subnets": ["10.5.1.0/24"], "public_ips": ["192.0.2.1"]},
        "config": {"restart_needed": None, "refused": None},
        "keeper": {"holds": True, "last_error": None},
        "store_contact": {"heard_seconds_ago": 1.0},
        "feed": {"unsettled_seconds": 0.0, "convergence": {"count": 1}},
        "dataplane": plane | changes.pop("dataplane", {}),
        "restarts": 0,
    }
    store: dict[str, Any] = {"name": "etcd:a", "error": None, "own": "present"}
    return Patient(
        status=status | changes.pop("status", {}),
        peers=changes.pop("peers", [PEER]),
        inspection={"renew_margin": 3600.0, "store": store | changes.pop("store", {})},
        plans=changes.pop("plans", [[]]),
        refusals=changes.pop("refusals", {}),
    )
