"""A status in which everything is told, for tests of what becomes of it."""

from typing import Any

from flannel_sdk.instruments import Histogram


def durations(*seconds: float) -> dict[str, Any]:
    histogram = Histogram((0.1, 1))
    for one in seconds:
        histogram.observe(one)
    return dict(histogram.status())


STATUS: dict[str, Any] = {
    "state": "running",
    "store": "etcd:a",
    "backend": "vxlan",
    "config": {"restart_needed": "the backend differs", "refused": None},
    "lease": {"expires_at": 1234.5},
    "mtu": 1450,
    "feed": {
        "peers": 3,
        "refused": {"overlaps": 2, "loopback": 1},
        "malformed": 4,
        "convergence": {"durations": durations(0.05, 0.5, 5.0)},
    },
    "keeper": {"holds": True, "renewals": 5, "reacquisitions": 6},
    "store_contact": {
        "calls": {"renew_lease": durations(0.2)},
        "failures": {"renew_lease": 7},
        "heard_seconds_ago": 1.5,
    },
    "dataplane": {
        "desired": {"route": 8, "device": 1},
        "failed": {"count": 2, "reasons": {"no": 2}},
        "failed_kinds": {"route": 2},
        "repaired_by_cause": {"notice": {"route": 9}, "audit": {"route": 1}},
        "missing_seconds": None,
        "pending": 0,
        "conflicts": {"now": 0},
        "written": 10,
        "audits": 11,
        "suppressed": 12,
        "netlink": {"write": durations(0.01)},
        "counters": {"dropped": 13},
        "datapath": {"path": "userspace", "counters": {"userspace": {"sent_packets": 15}}},
        "peers": {"known": 3, "refused": {"no VtepMAC": 1}},
    },
    "restarts": 14,
    "interface": {"name": "eth0", "problem": "eth0 is gone"},
    "firewall": {"settled": True, "problem": None, "repairs": {"the table": 16}},
    "ready": True,
    "event_loop": {"delays": durations(0.001), "longest_seconds": 0.001},
}
