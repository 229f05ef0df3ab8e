"""The store beside the daemon: entries that are refused, gone, or not taken in."""

from collections.abc import Iterator

from flannel_sdk.doctor.findings import Finding, Layer, Severity
from flannel_sdk.doctor.patient import Patient
from flannel_sdk.health.facts import Status, counts, first, number, part, rows, text, texts

_DAY = 86400.0


def check_store(patient: Patient) -> Iterator[Finding]:
    """Findings of the layers ``store`` and ``desired``; without asking any node."""
    store = _part(patient)
    name = text(store, "name") or text(patient.status, "store") or "the store"
    if (refusal := patient.refusals.get("inspect")) is not None:
        said = refusal.removesuffix(".")
        yield Finding(
            Layer.DAEMON,
            f"The daemon did not say what its store holds: {said}.",
            "Wait until it has registered its network, or run the same release as the daemon.",
        )
        return
    if (error := text(store, "error")) is not None:
        yield Finding(
            Layer.STORE,
            f"{name} cannot be read: {error.removesuffix('.')}.",
            "Bring the store back, or see to the network and credentials that reach it.",
        )
    yield from _of_our_own_entry(store, name, patient)
    yield from _of_bad_entries(store, name)
    yield from _of_what_is_not_served(store, patient)


def gone_peers(patient: Patient) -> Iterator[Status]:
    """Peers whose entries went within a day, and whose public IPs no other lease has."""
    present = {ip for peer in patient.peers for ip in texts(peer, "public_ips")}
    for peer in rows(_part(patient), "gone"):
        recent = (number(peer, "seconds_ago") or 0.0) < _DAY
        if recent and not present.intersection(texts(peer, "public_ips")):
            yield peer


def check_renewal(patient: Patient, now: float) -> Iterator[Finding]:
    """Peers whose leases are about to end, which a daemon that runs would have renewed."""
    margin = number(patient.inspection, "renew_margin") or 3600.0
    for peer in patient.peers:
        expires_at = number(peer, "expires_at")
        if expires_at is None or expires_at - now > margin / 2:
            continue
        subnet, public_ip = first(peer, "subnets"), first(peer, "public_ips")
        left = max(0.0, expires_at - now) / 60
        yield Finding(
            Layer.PEER,
            f"The lease of {public_ip} ends in {left:.0f} min and was not renewed in time.",
            f"Start flannel-sdk daemon on {public_ip}, or let the lease end if the node is gone.",
            peer=subnet,
        )


def _of_our_own_entry(store: Status, name: str, patient: Patient) -> Iterator[Finding]:
    subnets = ", ".join(texts(part(patient.status, "lease"), "subnets"))
    if store.get("own") == "absent":
        yield Finding(
            Layer.STORE,
            f"{name} has no entry for {subnets}, which this node holds: peers do not know of it.",
            "Restart the daemon: it leases again. See who removed the entry.",
        )
    elif store.get("own") == "differs":
        yield Finding(
            Layer.STORE,
            f"{name} has another entry for {subnets} than this node publishes: peers are misled.",
            "See whether another node has this public IP, and give each its own.",
        )


def _of_bad_entries(store: Status, name: str) -> Iterator[Finding]:
    for entry in rows(store, "malformed"):
        yield Finding(
            Layer.STORE,
            f"The entry {text(entry, 'key')} of {name} cannot be read:"
            f" {(text(entry, 'reason') or '').removesuffix('.')}.",
            "Remove or correct it; a node that runs writes its own again.",
        )
    for entry in rows(store, "refused"):
        subnet = first(entry, "subnets")
        yield Finding(
            Layer.STORE,
            f"The entry for {subnet} in {name} is not believed:"
            f" {(text(entry, 'reason') or '').removesuffix('.')}.",
            "Correct or remove it, and restart the daemon of the node that wrote it.",
            peer=subnet,
        )


def _of_what_is_not_served(store: Status, patient: Patient) -> Iterator[Finding]:
    said = {
        "missing": "is in the store and not among the daemon's peers",
        "extra": "is among the daemon's peers and not in the store",
        "differing": "says other things in the store than the daemon goes by",
    }
    for sort, problem in said.items():
        for peer in rows(store, sort):
            subnet = first(peer, "subnets")
            yield Finding(
                Layer.DESIRED,
                f"The lease of {subnet} ({first(peer, 'public_ips')}) {problem}.",
                "Restart the daemon; this should heal by itself and is worth a report.",
                peer=subnet,
            )
    refused = counts(patient.status, "dataplane", "peers", "refused")
    for reason, number_of_peers in refused.items():
        yield Finding(
            Layer.DESIRED,
            f"The backend serves {number_of_peers:.0f} peers not: {reason}.",
            "Give all nodes of the network the same backend and options, and restart those that"
            " publish something else.",
        )
    if patient.refusals.get("peers"):
        yield Finding(
            Layer.DAEMON,
            f"The daemon did not name its peers: {patient.refusals['peers']}.",
            "Restart it.",
            severity=Severity.WARNING,
        )


def _part(patient: Patient) -> Status:
    return part(patient.inspection, "store")
