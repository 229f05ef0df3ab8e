"""The layer kernel: plans that stay, ways that differ from the routes."""

from typing import Any

import pytest

from flannel_sdk.dataplane import ResolvedRoute
from flannel_sdk.doctor.findings import Layer
from flannel_sdk.doctor.kernel_checks import Way, check_plan, check_ways
from flannel_sdk.model import Prefix
from tests.unit.doctor.patients import MAC, PUBLIC_IP, SUBNET, patient


def change(kind: str, subject: str, action: str = "add") -> dict[str, Any]:
    return {"action": action, "kind": kind, "subject": subject}


ROUTE = change("route", f"{SUBNET} via 10.5.2.0 dev flannel.1 onlink")


@pytest.mark.parametrize(
    ("planned", "peer", "cure"),
    [
        (ROUTE, SUBNET, "ip monitor route"),
        (change("neighbour", f"10.5.2.0 lladdr {MAC} dev flannel.1"), SUBNET, "ip monitor neigh"),
        (change("fdb", f"{MAC} dev flannel.1 dst {PUBLIC_IP}"), SUBNET, "bridge monitor fdb"),
        (change("device", "flannel.1 type vxlan"), None, "monitor link"),
    ],
)
def test_what_stays_in_the_plan_is_a_fault_of_its_peer(
    planned: dict[str, Any], peer: str | None, cure: str
) -> None:
    (finding,) = check_plan(patient(plans=[[planned]] * 3))
    assert (finding.layer, finding.peer) == (Layer.KERNEL, peer)
    assert "is missing" in finding.problem
    assert cure in finding.fix


def test_what_is_repaired_in_a_moment_is_no_fault() -> None:
    assert list(check_plan(patient(plans=[[ROUTE], [ROUTE], []]))) == []


def test_what_is_fought_over_need_not_be_in_each_plan() -> None:
    fought = patient(plans=[[], [ROUTE], []], dataplane={"missing_seconds": 3.0})
    (finding,) = check_plan(fought)
    assert SUBNET in finding.problem
    unseen = patient(plans=[[], [], []], dataplane={"missing_seconds": 3.0})
    (finding,) = check_plan(unseen)
    assert "again and again" in finding.problem


def test_what_the_kernel_refuses_is_said_with_its_reason() -> None:
    failed = {"failed": {"count": 1, "reasons": {"the table is full": 1}}}
    (finding,) = check_plan(patient(plans=[[ROUTE]] * 3, dataplane=failed))
    assert "The kernel refuses: the table is full." in finding.fix


def way(expected: str | None, resolved: str | None) -> Way:
    route = None if resolved is None else ResolvedRoute(resolved, None, 1)
    return Way(SUBNET, Prefix.parse(SUBNET), route, expected)


def test_a_way_that_agrees_with_its_route_is_well() -> None:
    assert list(check_ways([way("flannel.1", "flannel.1")])) == []


def test_a_backend_without_routes_of_peers_needs_none() -> None:
    assert list(check_ways([way(None, "flannel0")], routed=False)) == []
    (finding,) = check_ways([way(None, None)], routed=False)
    assert "refuses" in finding.problem


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (way(None, "eth0"), "no route of ours"),
        (way("flannel.1", "eth0"), "the kernel sends to it by eth0"),
        (way("flannel.1", None), "the kernel refuses to send to it"),
    ],
)
def test_a_way_that_does_not(found: Way, says: str) -> None:
    (finding,) = check_ways([found])
    assert (finding.layer, finding.peer) == (Layer.KERNEL, SUBNET)
    assert says in finding.problem
