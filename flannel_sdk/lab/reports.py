"""What a lab's nodes look like now, for tables and programs."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from flannel_sdk.lab.lab import Lab
from flannel_sdk.lab.state import NodeRecord
from flannel_sdk.lab.status_client import ask_daemon
from flannel_sdk.lab.store import shown_options


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node; addresses as text, one for each family, IPv4 first."""

    node: int
    netns: str
    pid: int | None
    """Of the running daemon."""
    underlay: list[str]
    subnets: list[str]
    pod: list[str]
    mtu: int
    """Bytes; 0 while unknown."""
    lease_expires: float | None
    """Seconds since the epoch; None for a reservation, or while the daemon does not tell."""
    lease_permanent: bool
    """True for a reservation."""
    state: str
    """What the daemon says itself, else ``silent``, ``dead`` or ``not started``."""

    def to_json(self) -> dict[str, object]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StoreReport:
    """The lab's store."""

    store: str
    options: Mapping[str, str]
    """As the nodes are given them, without secrets."""
    server: str | None
    """``running`` or ``dead``; None where the lab runs no server for it."""
    pid: int | None
    """Of the running server."""

    def to_json(self) -> dict[str, object]:
        """JSON-ready."""
        return asdict(self)


def report_store(lab: Lab) -> StoreReport:
    """The store, without asking it."""
    server = lab.state.server
    process = server.process if server is not None else None
    alive = process is not None and process.alive
    return StoreReport(
        store=lab.spec.store,
        options=shown_options(lab.spec),
        server=None if server is None else "running" if alive else "dead",
        pid=process.pid if process is not None and alive else None,
    )


async def report_nodes(lab: Lab) -> list[NodeReport]:
    """All nodes, each asked at its status socket at the same time."""
    return list(await asyncio.gather(*(_report(lab, node) for node in lab.state.nodes.values())))


async def _report(lab: Lab, node: NodeRecord) -> NodeReport:
    alive = node.process is not None and node.process.alive
    answer = await ask_daemon(lab.files(node.number).status_socket, "status") if alive else None
    lease = _lease(answer)
    expires = lease.get("expires_at")
    return NodeReport(
        node=node.number,
        netns=lab.names.node(node.number),
        pid=node.process.pid if node.process is not None and alive else None,
        underlay=[str(prefix) for prefix in lab.spec.underlay_addresses(node.number)],
        subnets=[str(prefix.masked()) for prefix in node.pod_addresses],
        pod=[str(prefix.address) for prefix in node.pod_addresses],
        mtu=node.mtu,
        lease_expires=float(expires) if isinstance(expires, int | float) else None,
        lease_permanent=lease.get("permanent") is True,
        state=_state(node, alive, answer),
    )


def _state(node: NodeRecord, alive: bool, answer: Mapping[str, object] | None) -> str:
    if node.process is None:
        return "not started"
    if not alive:
        return "dead"
    return "silent" if answer is None else str(answer.get("state", "silent"))


def _lease(answer: Mapping[str, object] | None) -> Mapping[str, object]:
    lease = (answer or {}).get("lease")
    return lease if isinstance(lease, dict) else {}
