"""What a doctor finds: layers, findings, what each peer answered, and the report of all."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum

SCHEMA_VERSION = 1
"""Raised when what ``Report.to_json`` gives changes other than by additions."""


class Layer(Enum):
    """Where a fault is, in the order in which traffic to a peer depends on them."""

    DAEMON = "daemon"
    """This node's daemon: it runs, holds its lease, and hears its store."""
    STORE = "store"
    """What the store holds."""
    DESIRED = "desired"
    """What the daemon makes of the store."""
    KERNEL = "kernel"
    """What the kernel of this node holds."""
    UNDERLAY = "underlay"
    """The network between the nodes."""
    TUNNEL = "tunnel"
    """What goes through the overlay."""
    PEER = "peer"
    """The other node, its daemon and its device."""


class Severity(Enum):
    """How much a finding matters."""

    ERROR = "error"
    """Something is wrong."""
    WARNING = "warning"
    """Something could not be proved, or will be wrong later."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, for people."""

    layer: Layer
    problem: str
    """A sentence: what is wrong, where."""
    fix: str
    """A sentence: what to do."""
    peer: str | None = None
    """The subnet of the peer that it concerns (the first of several); None for the node."""
    severity: Severity = Severity.ERROR

    def to_json(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "layer": self.layer.value,
            "severity": self.severity.value,
            "peer": self.peer,
            "problem": self.problem,
            "fix": self.fix,
        }


@dataclass(slots=True)
class PathReport:
    """What the probes to one peer in one family saw; None for what was not tried."""

    family: str
    public_ip: str | None
    address: str | None = None
    """The address inside the overlay that answers, or that was asked in vain."""
    underlay_seconds: float | None = None
    """Round trip to the public IP; None if it did not answer."""
    tunnel_seconds: float | None = None
    """Round trip through the overlay with a small packet; None if it did not answer."""
    full_mtu: bool | None = None
    """Whether a packet of the network's MTU, not fragmented, was answered."""
    largest_packet: int | None = None
    """Bytes of the largest that was answered, where one of the full MTU was not."""
    checksum_device: str | None = None
    """What became of UDP whose checksum is left to the device: an ``Outcome``. Through the overlay
    where that answers pings, else over the underlay."""
    checksum_software: str | None = None
    """The same with a complete checksum."""
    udp_port: str | None = None
    """What became of UDP to the tunnel's port on the public IP, tried where nothing answers."""


@dataclass(slots=True)
class PeerReport:
    """One peer."""

    subnets: list[str]
    public_ips: list[str]
    paths: list[PathReport] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What findings call it."""
        return self.subnets[0] if self.subnets else "?"


@dataclass(slots=True)
class Report:
    """All that was found."""

    findings: list[Finding] = field(default_factory=list)
    peers: list[PeerReport] = field(default_factory=list)
    node: Mapping[str, object] = field(default_factory=dict)
    """What the daemon says of itself: state, subnets, public IPs, backend, MTU."""

    @property
    def healthy(self) -> bool:
        """True if nothing is wrong; warnings do not count."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)

    def add(self, findings: Iterable[Finding]) -> None:
        """More findings."""
        self.findings.extend(findings)

    def blamed(self, peer: str) -> bool:
        """Whether an error of this peer was found already."""
        return any(f.peer == peer and f.severity is Severity.ERROR for f in self.findings)

    def ranked(self) -> list[Finding]:
        """The findings in the order of their layers."""
        order = list(Layer)
        return sorted(self.findings, key=lambda finding: order.index(finding.layer))

    def to_json(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "version": SCHEMA_VERSION,
            "healthy": self.healthy,
            "node": dict(self.node),
            "findings": [finding.to_json() for finding in self.ranked()],
            "peers": [asdict(peer) for peer in self.peers],
        }
