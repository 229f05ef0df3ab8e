"""Why a node is not ready, told from its agent's status: facts of now, never a flag set once."""

from collections.abc import Iterator, Sequence

from flannel_sdk.health.facts import Status, counts, number, part, text
from flannel_sdk.health.options import HealthOptions


def problems(status: Status, options: HealthOptions) -> Sequence[str]:
    """One sentence for each reason; none where the node is ready."""
    if not part(status, "keeper"):
        return ["it has not got as far as asking for a lease"]
    return [
        *_of_the_lease(status),
        *_of_the_store(status, options),
        *_of_peers(status, options),
        *_of_the_firewall(status),
        *_of_the_subnet_file(status),
    ]


def _of_the_lease(status: Status) -> Iterator[str]:
    if not part(status, "keeper").get("holds"):
        error = text(status, "keeper", "last_error")
        yield "it holds no lease" + (f": {error.removesuffix('.')}" if error else "")


def _of_the_store(status: Status, options: HealthOptions) -> Iterator[str]:
    heard = number(status, "store_contact", "heard_seconds_ago")
    if heard is None or heard > options.store_silence:
        since = "yet" if heard is None else f"for {heard:.0f} s"
        yield f"the store {text(status, 'store')} was not heard {since}"


def _of_peers(status: Status, options: HealthOptions) -> Iterator[str]:
    if not number(status, "feed", "convergence", "count") and status.get("state") != "running":
        yield "the peers of the first snapshot are not in the kernel yet"
        return
    waiting = number(status, "feed", "unsettled_seconds") or 0.0
    if waiting > options.missing:
        yield f"changed peers have not been in the kernel for {waiting:.0f} s"
    missing = number(status, "dataplane", "missing_seconds") or 0.0
    if missing > options.missing:
        causes = list(counts(status, "dataplane", "failed", "reasons"))
        node = text(status, "dataplane", "node_problem")
        why = node or (causes[0] if causes else "it is taken away again")
        yield f"an object of ours has been missing in the kernel for {missing:.0f} s: {why}"


def _of_the_firewall(status: Status) -> Iterator[str]:
    firewall = part(status, "firewall")
    problem = text(firewall, "problem")
    if problem is not None and not firewall.get("settled"):
        yield f"the firewall's rules are not in place: {problem.removesuffix('.')}"


def _of_the_subnet_file(status: Status) -> Iterator[str]:
    """Without it no pod starts, and with an old one pods start in the wrong subnet."""
    problem = text(status, "subnet_file", "problem")
    if problem is not None:
        yield f"{text(status, 'subnet_file', 'path')}: {problem}"
