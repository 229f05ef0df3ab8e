"""Readiness: a table of facts, and what each of them alone has to say."""

from collections.abc import Mapping
from typing import Any

import pytest

from flannel_sdk.health.options import HealthOptions
from flannel_sdk.health.readiness import problems

WELL: dict[str, Any] = {
    "state": "running",
    "store": "etcd:a",
    "keeper": {"holds": True, "last_error": None},
    "store_contact": {"heard_seconds_ago": 3.0},
    "feed": {"unsettled_seconds": 0.0, "convergence": {"count": 1}},
    "dataplane": {"missing_seconds": None, "failed": {"reasons": {}}, "node_problem": None},
}


def but(**parts: Mapping[str, object]) -> dict[str, Any]:
    return WELL | {name: WELL[name] | facts for name, facts in parts.items()}


def test_a_node_on_which_all_is_well_is_ready() -> None:
    assert problems(WELL, HealthOptions()) == []


def test_an_agent_that_has_just_started_is_not() -> None:
    starting = {"state": "starting", "store": "etcd:a", "keeper": None, "feed": None}
    assert problems(starting, HealthOptions()) == ["it has not got as far as asking for a lease"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (but(keeper={"holds": False}), "it holds no lease"),
        (
            but(keeper={"holds": False, "last_error": "the pool is full."}),
            "it holds no lease: the pool is full",
        ),
        (
            but(store_contact={"heard_seconds_ago": 120.6}),
            "the store etcd:a was not heard for 121 s",
        ),
        (but(store_contact={"heard_seconds_ago": None}), "the store etcd:a was not heard yet"),
        (
            but(feed={"convergence": {"count": 0}}) | {"state": "starting"},
            "the peers of the first snapshot are not in the kernel yet",
        ),
        (
            but(feed={"unsettled_seconds": 31.0}),
            "changed peers have not been in the kernel for 31 s",
        ),
        (
            but(dataplane={"missing_seconds": 40.0, "node_problem": "no flannel.1"}),
            "an object of ours has been missing in the kernel for 40 s: no flannel.1",
        ),
        (
            but(dataplane={"missing_seconds": 40.0, "failed": {"reasons": {"no way": 3}}}),
            "an object of ours has been missing in the kernel for 40 s: no way",
        ),
        (
            but(dataplane={"missing_seconds": 40.0}),
            "an object of ours has been missing in the kernel for 40 s: it is taken away again",
        ),
    ],
)
def test_d36_each_fault_has_its_sentence(status: dict[str, Any], reason: str) -> None:
    assert problems(status, HealthOptions()) == [reason]


def test_rules_that_could_not_be_set_are_a_reason_and_settled_ones_with_a_remark_are_not() -> None:
    remark = {"settled": True, "problem": "old rules of iptables are left."}
    assert problems(WELL | {"firewall": remark}, HealthOptions()) == []
    assert problems(WELL | {"firewall": remark | {"settled": False}}, HealthOptions()) == [
        "the firewall's rules are not in place: old rules of iptables are left"
    ]


def test_what_lasts_a_moment_is_no_reason() -> None:
    brief = but(
        store_contact={"heard_seconds_ago": 80.0},
        feed={"unsettled_seconds": 20.0},
        dataplane={"missing_seconds": 20.0},
    )
    assert problems(brief, HealthOptions()) == []
    assert len(problems(brief, HealthOptions(store_silence=60.0, missing=10.0))) == 3


def test_a_network_without_peers_or_status_of_its_own_is_ready() -> None:
    assert problems(WELL | {"dataplane": None}, HealthOptions()) == []


def test_a_subnet_file_that_is_not_there_is_a_reason() -> None:
    written = {"path": "/run/flannel/subnet.env", "problem": None}
    assert problems(WELL | {"subnet_file": written}, HealthOptions()) == []
    missing = written | {"problem": "it is not written yet"}
    assert problems(WELL | {"subnet_file": missing}, HealthOptions()) == [
        "/run/flannel/subnet.env: it is not written yet"
    ]
