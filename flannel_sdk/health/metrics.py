"""Which metric families a status becomes, with their names, labels and help."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from flannel_sdk import __version__
from flannel_sdk.health.facts import Status, counts, number, part, text

_PREFIX = "flannel_sdk_"


def families(status: Status) -> Iterator[Metric]:
    """All families; what the status does not tell is left out."""
    yield from _of_the_agent(status)
    yield from _of_leases(status)
    yield from _of_the_store(status)
    yield from _of_the_kernel(status)
    yield from _of_repairs(status)
    yield from _of_the_backend(status)
    yield from _of_the_firewall(status)
    yield from _of_the_loop(status)


def _of_the_agent(status: Status) -> Iterator[Metric]:
    about = {"version": __version__}
    about |= {name: text(status, name) or "" for name in ("backend", "store")}
    yield InfoMetricFamily(f"{_PREFIX}agent", "What runs here.", value=about)
    yield from _gauge("ready", "1 if /readyz says so.", number(status, "ready"))
    yield from _gauge("mtu_bytes", "The largest inner packet.", number(status, "mtu"))
    underlay = part(status, "interface")
    problem = float(text(underlay, "problem") is not None) if underlay else None
    yield from _gauge("underlay_problem", "1 while no interface fits, or none is used.", problem)
    restarts = number(status, "restarts")
    yield from _counter("dataplane_restarts", "The data plane stopped and was run again.", restarts)
    config = part(status, "config")
    if config:
        states = {name: float(bool(text(config, name))) for name in ("restart_needed", "refused")}
        states["applied"] = float(not any(states.values()))
        yield _labelled(
            GaugeMetricFamily,
            "config_state",
            "1 for what has become of the newest network configuration.",
            ["state"],
            {(state,): value for state, value in states.items()}.items(),
        )


def _of_leases(status: Status) -> Iterator[Metric]:
    peers = number(status, "feed", "peers")
    yield from _gauge("peers", "Peers whose leases are believed.", peers)
    feed = part(status, "feed")
    if feed:
        refused = {
            ("admission",): sum(counts(feed, "refused").values()),
            ("backend",): sum(counts(status, "dataplane", "peers", "refused").values()),
        }
        text_ = "Leases of others that are not served, by who refuses them."
        yield _labelled(GaugeMetricFamily, "refused_leases", text_, ["refused_by"], refused.items())
        malformed = number(feed, "malformed")
        yield from _gauge("malformed_entries", "Entries that cannot be read.", malformed)
    keeper = part(status, "keeper")
    yield from _gauge("lease_held", "1 while our lease is ours.", number(keeper, "holds"))
    expiry = number(status, "lease", "expires_at")
    yield from _gauge(
        "lease_expiry_timestamp_seconds", "Unix time; absent for one without an end.", expiry
    )
    renewals, lost = number(keeper, "renewals"), number(keeper, "reacquisitions")
    yield from _counter("lease_renewals", "Renewals that succeeded.", renewals)
    yield from _counter("lease_losses", "How often our lease was lost and acquired again.", lost)


def _of_the_store(status: Status) -> Iterator[Metric]:
    contact = part(status, "store_contact")
    yield from _gauge(
        "store_silence_seconds",
        "Since the last sign of life.",
        number(contact, "heard_seconds_ago"),
    )
    yield from _histogram(
        "store_call_seconds", "Calls that were answered.", "call", part(contact, "calls")
    )
    failures = {(name,): count for name, count in counts(contact, "failures").items()}
    yield _labelled(
        CounterMetricFamily, "store_call_failures", "Calls that failed.", ["call"], failures.items()
    )
    durations = part(status, "feed", "convergence", "durations")
    yield from _histogram(
        "event_to_kernel_seconds",
        "From the arrival of a change's bytes until the kernel has acknowledged all of it.",
        "",
        {"": durations} if durations else {},
    )


def _of_the_kernel(status: Status) -> Iterator[Metric]:
    plane = part(status, "dataplane")
    objects = {(kind, "wanted"): count for kind, count in counts(plane, "desired").items()} | {
        (kind, "refused"): count for kind, count in counts(plane, "failed_kinds").items()
    }
    yield _labelled(
        GaugeMetricFamily,
        "objects",
        "Kernel objects: wanted in all, and refused by the kernel now.",
        ["kind", "state"],
        objects.items(),
    )
    yield from _gauge("objects_pending", "Objects to look at.", number(plane, "pending"))
    yield from _gauge(
        "objects_missing_seconds",
        "How long the object that is missing longest has been; 0 if none is.",
        (number(plane, "missing_seconds") or 0.0) if plane else None,
    )
    conflicts = number(plane, "conflicts", "now")
    yield from _gauge("object_conflicts", "Objects that two peers claim.", conflicts)
    writes = number(plane, "written")
    yield from _counter("kernel_writes", "Objects written or removed.", writes)
    yield from _counter("audits", "Comparisons of everything.", number(plane, "audits"))
    yield from _histogram(
        "netlink_seconds", "Batches written and tables read.", "operation", part(plane, "netlink")
    )


def _of_repairs(status: Status) -> Iterator[Metric]:
    plane = part(status, "dataplane")
    causes = part(plane, "repaired_by_cause")
    repairs = {
        (kind, cause): count for cause in causes for kind, count in counts(causes, cause).items()
    }
    yield _labelled(
        CounterMetricFamily,
        "repairs",
        "What others had taken away or changed, by how it was found.",
        ["kind", "cause"],
        repairs.items(),
    )
    yield from _counter(
        "repairs_put_off", "Repairs of what is taken again and again.", number(plane, "suppressed")
    )


def _of_the_firewall(status: Status) -> Iterator[Metric]:
    firewall = part(status, "firewall")
    settled = 0.0 if firewall.get("given_up") else number(firewall, "settled")
    yield from _gauge("firewall_settled", "1 while the rules are in place.", settled)
    problem = float(text(firewall, "problem") is not None) if firewall else None
    yield from _gauge("firewall_problem", "1 while something ails the rules.", problem)
    repairs = {(what,): count for what, count in counts(firewall, "repairs").items()}
    about = "Rules that others had changed, and that were put back."
    yield _labelled(CounterMetricFamily, "firewall_repairs", about, ["what"], repairs.items())


def _of_the_backend(status: Status) -> Iterator[Metric]:
    """Whatever a backend counts in mappings called ``counters``, by its own names."""
    events = {(path, event): count for path, event, count in _counted(part(status, "dataplane"))}
    yield _labelled(
        CounterMetricFamily,
        "backend_events",
        "What the backend counts, by its own names.",
        ["path", "event"],
        events.items(),
    )


def _counted(plane: Status) -> Iterator[tuple[str, str, float]]:
    """``counters`` of the status itself or of a part of it, flat or by data path."""
    for section in (plane, *(part(plane, name) for name in plane)):
        for event, count in counts(section, "counters").items():
            yield "", event, count
        for path in part(section, "counters"):
            for event, count in counts(section, "counters", path).items():
                yield path, event, count


def _of_the_loop(status: Status) -> Iterator[Metric]:
    pulse = part(status, "event_loop")
    delays = part(pulse, "delays")
    yield from _histogram(
        "event_loop_delay_seconds",
        "How late the event loop woke up who slept.",
        "",
        {"": delays} if delays else {},
    )
    longest = number(pulse, "longest_seconds")
    yield from _gauge("event_loop_longest_delay_seconds", "Since the start.", longest)


def _gauge(name: str, about: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield GaugeMetricFamily(_PREFIX + name, about, value=value)


def _counter(name: str, about: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield CounterMetricFamily(_PREFIX + name, about, value=value)


def _labelled(
    family: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    about: str,
    labels: list[str],
    samples: Iterable[tuple[Sequence[str], float]],
) -> Metric:
    made = family(_PREFIX + name, about, labels=labels)
    for values, count in samples:
        made.add_metric(values, count)
    return made


def _histogram(name: str, about: str, label: str, series: Status) -> Iterator[Metric]:
    """``series``: an ``instruments.Histogram.status`` for each value of ``label``."""
    made = HistogramMetricFamily(_PREFIX + name, about, labels=[label] if label else [])
    for value in series:
        found = part(series, value)
        bounds, numbers = found.get("bounds"), found.get("counts")
        if not isinstance(bounds, list) or not isinstance(numbers, list):
            continue
        total, buckets = 0, []
        for bound, count in zip([*(str(float(b)) for b in bounds), "+Inf"], numbers, strict=True):
            total += count
            buckets.append((bound, total))
        made.add_metric([value] if label else [], buckets, sum_value=number(found, "sum") or 0.0)
    if made.samples:
        yield made
