"""The exposition: a status becomes samples that Prometheus's own parser reads."""

from typing import Any

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from flannel_sdk.health.exposition import Exposition
from tests.unit.health.statuses import STATUS


def samples(status: dict[str, Any]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, _ = Exposition(lambda: status).render("")
    return {
        (sample.name.removeprefix("flannel_sdk_"), tuple(sorted(sample.labels.items()))): (
            sample.value
        )
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_every_fact_has_its_sample() -> None:
    found = samples(STATUS)
    expected = {
        ("ready", ()): 1,
        ("mtu_bytes", ()): 1450,
        ("peers", ()): 3,
        ("refused_leases", (("refused_by", "admission"),)): 3,
        ("refused_leases", (("refused_by", "backend"),)): 1,
        ("malformed_entries", ()): 4,
        ("lease_held", ()): 1,
        ("lease_expiry_timestamp_seconds", ()): 1234.5,
        ("lease_renewals_total", ()): 5,
        ("lease_losses_total", ()): 6,
        ("store_call_failures_total", (("call", "renew_lease"),)): 7,
        ("store_silence_seconds", ()): 1.5,
        ("objects", (("kind", "route"), ("state", "wanted"))): 8,
        ("objects", (("kind", "route"), ("state", "refused"))): 2,
        ("objects_missing_seconds", ()): 0,
        ("repairs_total", (("cause", "notice"), ("kind", "route"))): 9,
        ("repairs_total", (("cause", "audit"), ("kind", "route"))): 1,
        ("kernel_writes_total", ()): 10,
        ("audits_total", ()): 11,
        ("repairs_put_off_total", ()): 12,
        ("backend_events_total", (("event", "dropped"), ("path", ""))): 13,
        ("backend_events_total", (("event", "sent_packets"), ("path", "userspace"))): 15,
        ("firewall_settled", ()): 1,
        ("firewall_problem", ()): 0,
        ("firewall_repairs_total", (("what", "the table"),)): 16,
        ("underlay_problem", ()): 1,
        ("dataplane_restarts_total", ()): 14,
        ("config_state", (("state", "restart_needed"),)): 1,
        ("config_state", (("state", "refused"),)): 0,
        ("config_state", (("state", "applied"),)): 0,
    }
    assert {key: found[key] for key in expected} == expected


def test_rules_that_were_given_up_are_not_in_place() -> None:
    found = samples({"firewall": {"settled": True, "given_up": True, "problem": "no iptables"}})
    assert (found["firewall_settled", ()], found["firewall_problem", ()]) == (0, 1)


def test_a_histogram_is_cumulative_and_ends_with_all() -> None:
    found = samples(STATUS)
    buckets = [
        found["event_to_kernel_seconds_bucket", (("le", bound),)]
        for bound in ("0.1", "1.0", "+Inf")
    ]
    assert buckets == [1, 2, 3]
    assert found["event_to_kernel_seconds_count", ()] == 3
    assert found["event_to_kernel_seconds_sum", ()] == 5.55
    assert found["netlink_seconds_count", (("operation", "write"),)] == 1


def test_an_agent_that_has_just_started_has_metrics_too() -> None:
    found = samples({"state": "starting", "store": "etcd:a", "backend": None, "ready": False})
    assert found["ready", ()] == 0
    assert ("peers", ()) not in found
    assert any(name == "process_resident_memory_bytes" for name, _ in found)


def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    accept = "application/openmetrics-text;version=1.0.0"
    body, content_type = Exposition(lambda: STATUS).render(accept)
    assert content_type.startswith("application/openmetrics-text")
    read = openmetrics_families(body.decode())  # type: ignore[no-untyped-call]  # theirs has none
    names = {family.name for family in read}
    assert {"flannel_sdk_repairs", "flannel_sdk_event_to_kernel_seconds"} <= names


def test_two_agents_of_one_process_do_not_mix() -> None:
    first, second = Exposition(lambda: {"mtu": 1}), Exposition(lambda: {"mtu": 2})
    assert b"flannel_sdk_mtu_bytes 1.0" in first.render("")[0]
    assert b"flannel_sdk_mtu_bytes 2.0" in second.render("")[0]
