"""The contract of a data plane: Backend, Network, what they are given, and the plugin object."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from flannel_sdk.model import ExternalInterface, Lease, LeaseAttrs, NetworkConfig, PeerUpdate


class LeaseAcquirer(Protocol):
    """The one thing a backend may ask of the store's side."""

    async def acquire_lease(self, attrs: LeaseAttrs) -> Lease:
        """Publish ``attrs`` and give the lease that this node holds; retries what can heal.

        A second call with other attributes re-publishes the same lease.
        """
        ...


class PeerFeed(Protocol):
    """The newest lease of every peer, as a stream that never queues."""

    def updates(self) -> AsyncGenerator[PeerUpdate, None]:
        """Updates for one consumer: the full set first, then what changed since the last one read.

        Level-triggered: states that came and went between two reads are not seen, the newest
        always is. Asking for the next update says that the last one holds in the kernel. Ends only
        when closed. It never fails because the store does.
        """
        ...


class Network(Protocol):
    """One network on this node, registered: its lease and its data plane."""

    @property
    def lease(self) -> Lease:
        """The lease that the device carries."""
        ...

    @property
    def mtu(self) -> int:
        """Bytes: the largest inner packet that is not fragmented on the underlay."""
        ...

    async def run(self, peers: PeerFeed) -> None:
        """Keep the kernel as the feed says until cancelled; never returns by itself.

        Starts by adopting what an earlier run left. Prunes only after the first full update.
        Cancelling ends it within 1 s and leaves the data plane as it is. Raising means: run me
        again (RetryableError, with back-off) or give up (PermanentError).
        """
        ...


class Backend(Protocol):
    """One data-plane technology on one node."""

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> Network:
        """Make the device, ask ``leases`` for the subnet, give the device its address.

        May be called again, after a failure or with another configuration, and then starts from
        whatever is there. ConfigError for a backend option that is wrong, PrivilegeError without
        CAP_NET_ADMIN, KernelError for what the kernel refuses.
        """
        ...


@dataclass(frozen=True, slots=True)
class BackendContext:
    """What a backend is made with."""

    interface: ExternalInterface
    netns: str | None
    """Path of the network namespace to work in (``/run/netns/NAME``); None for the process's."""
    blackhole_route: bool = False
    """Whether what is sent to addresses of our subnets that nobody has is to be dropped here."""


@runtime_checkable
class BackendPlugin(Protocol):
    """What an entry point of ``flannel_sdk.backends`` names: an object of this shape."""

    @property
    def contract_version(self) -> int:
        """``interfaces.CONTRACT_VERSION`` of the release that the plugin was made for."""
        ...

    def create(self, context: BackendContext) -> Backend:
        """A backend for one node, without I/O; ConfigError where the interface does not fit."""
        ...


class BackendManager(Protocol):
    """The backends installed on this node."""

    def available(self) -> Sequence[str]:
        """Names of the installed backends, sorted; whether they load is not known yet."""
        ...

    async def get_backend(self, backend_type: str) -> Backend:
        """The backend of this type (case-insensitive): one instance a type, made when first asked.

        PluginError, one sentence, if it is unknown, ambiguous, broken or of another contract.
        """
        ...


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One request that a reconciliation would send to the kernel."""

    action: str
    """``add``, ``change`` or ``remove``."""
    kind: str
    """``device``, ``address``, ``route``, ``neighbour`` or ``fdb``."""
    subject: str
    """The object for people, in iproute2's words."""


@runtime_checkable
class SupportsPlan(Protocol):
    """A network that can say what it would change."""

    async def plan(self) -> Sequence[PlannedChange]:
        """The difference between what should be and what is, read now; nothing is written."""
        ...


@runtime_checkable
class SupportsRetire(Protocol):
    """A network that can take away what it has put into the kernel."""

    async def retire(self, successor: Network) -> None:
        """Remove what this network made and ``successor`` does not need: its devices.

        Called after ``run`` has ended, when ``successor`` serves all peers with another
        configuration of the same network.
        """
        ...


@runtime_checkable
class SupportsStatus(Protocol):
    """A network that can tell about itself."""

    def status(self) -> Mapping[str, object]:
        """JSON-ready facts; cheap, without I/O.

        What is in a mapping called ``counters`` (numbers by name, or such mappings by data path)
        becomes metrics. ``udp_port``: the port of the peers' tunnels, where they are over UDP.
        ``missing_seconds``: how long the object that is missing longest has been, if one is.
        """
        ...
