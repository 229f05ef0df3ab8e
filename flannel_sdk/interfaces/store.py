"""The contract of a store: SubnetManager, and the plugin object that makes one."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from flannel_sdk.model import (
    ByFamily,
    IPAddress,
    Lease,
    LeaseAttrs,
    LeaseDelta,
    LeaseSnapshot,
    LeaseState,
    NetworkConfig,
    Subnets,
)


class SubnetManager(Protocol):
    """One store, seen from one node. It knows no backend and touches no kernel state.

    Every method may be cancelled at any await and then leaves no task, connection or half-written
    entry behind. Methods may run concurrently with each other. Errors are ``StoreError``s:
    ``StoreUnavailable`` is worth a retry, ``StoreCorrupt`` is not.
    """

    name: str
    """What people call this store, with its place: ``sqlite:/var/lib/flannel/net.db``."""

    async def get_network_config(self) -> NetworkConfig:
        """The network's configuration, validated.

        ConfigMissing if there is none yet, ConfigError if it is wrong, StoreUnavailable if the
        store did not answer.
        """
        ...

    async def acquire_lease(self, attrs: LeaseAttrs, previous: Subnets | None = None) -> Lease:
        """A lease of our own: adopted, else ``previous`` if free, else a free one (flannel 4.5).

        Adoption is by public IP: an entry that publishes ours is ours; a reservation (an entry
        without expiry) stays one. An entry of another node is never overwritten. A lost race is
        retried inside. OutOfSubnets if all are taken; StoreUnavailable otherwise.
        """
        ...

    async def renew_lease(self, lease: Lease) -> Lease:
        """The same lease with a new expiry, and ``lease.attrs`` published.

        Compare-and-set: LeaseLost, and nothing written, if the entry is gone, has expired or is
        somebody else's. Idempotent for a reservation, whose expiry stays None.
        """
        ...

    def watch_lease(self, lease: Lease) -> AsyncGenerator[LeaseState, None]:
        """What becomes of our own lease: its present state first, then each change, until closed.

        LeaseGone is not the end of the stream. Reconnects inside; states may be skipped when they
        come faster than they are read, the newest never.
        """
        ...

    def watch_leases(self) -> AsyncGenerator[LeaseSnapshot | LeaseDelta, None]:
        """All leases, our own among them: a snapshot first, then deltas in the store's order.

        Reconnects inside and never ends by itself. After a gap (compaction, a long disconnect) the
        next item is a snapshot again, or a delta that holds the whole difference, each changed
        attribute included. An entry that cannot be read is in ``malformed`` and hides only itself.
        Expiry is reported as removal. Close it with ``aclosing``.
        """
        ...

    async def aclose(self) -> None:
        """Free what was opened; open watches end. The lease stays in the store. Idempotent."""
        ...


OptionsT_contra = TypeVar("OptionsT_contra", contravariant=True)


@runtime_checkable
class SubnetManagerPlugin(Protocol[OptionsT_contra]):
    """What an entry point of ``flannel_sdk.subnet_managers`` names: an object of this shape."""

    @property
    def contract_version(self) -> int:
        """``interfaces.CONTRACT_VERSION`` of the release that the plugin was made for."""
        ...

    @property
    def options_type(self) -> type:
        """A frozen dataclass whose fields all have defaults.

        A field is a bool, int, float, str, Path, ``model.Secret`` (which no message shows) or
        ``tuple[str, ...]`` (a comma list), or one of these and None. Its name is the option's name,
        with ``_`` for ``-``. Its metadata, which ``model.option_metadata`` makes, may hold ``help``
        (a sentence), ``metavar``, ``flag`` (a command-line flag for it, without dashes; it names
        the option too, and the variable ``FLANNELD_...`` that the daemon takes it from), ``env``
        (that variable, where there is no flag) and ``aliases`` (a tuple of further names).
        """
        ...

    def open(self, options: OptionsT_contra) -> SubnetManager:
        """A manager for these options, without I/O; ConfigError if an option is wrong."""
        ...


@runtime_checkable
class SupportsConfigWatch(Protocol):
    """A store that can tell when the network's configuration changes."""

    def watch_network_config(self) -> AsyncGenerator[NetworkConfig, None]:
        """The present configuration first, then each valid change; invalid ones are skipped."""
        ...


@runtime_checkable
class SupportsLastHeard(Protocol):
    """A store that hears from its server also while nothing changes, and knows when it last did."""

    def last_heard(self) -> float | None:
        """``time.monotonic()`` of the newest answer; None if there was none. Cheap, without I/O.

        While all is well it should never be more than a minute old.
        """
        ...


@runtime_checkable
class SupportsConfigWrite(Protocol):
    """A store that takes the network's configuration through us."""

    async def put_network_config(self, document: str) -> NetworkConfig:
        """Validate and store flannel's JSON ``document``; ConfigError if it is wrong."""
        ...


class LabServer(NamedTuple):
    """How a lab runs a store's server, and how its nodes then reach it."""

    argv: Sequence[str]
    """The command line: runs in the foreground until SIGTERM, and prints what goes wrong."""
    options: Mapping[str, str]
    """All of the store's options for the nodes, as ``--store-option`` takes them."""


@runtime_checkable
class SupportsLabServer(Protocol):
    """A store plugin that can serve a lab by itself."""

    def lab_server(
        self, options: Mapping[str, str], directory: Path, address: IPAddress
    ) -> LabServer | None:
        """A server that listens on ``address`` and keeps its files below ``directory``.

        ``options`` are those that the lab's user gave, by the fields' names; None where they name a
        server already. Called without I/O beyond looking for a program; PermanentError, with what
        to do, where there is none.
        """
        ...


@runtime_checkable
class SupportsHolderNames(Protocol):
    """A store that knows by name who holds a lease."""

    def holder_name(self, subnets: Subnets) -> str | None:
        """A printable name of who holds it by what ``watch_leases`` told last; without I/O."""
        ...


@runtime_checkable
class SupportsStoredPublicIPs(Protocol):
    """A store in which an operator can say what a node's public IPs are."""

    async def stored_public_ips(self) -> ByFamily[IPAddress]:
        """What to use at the start instead of ``--public-ip``; None for a family left open.

        ConfigError if what the operator wrote is no address; else as ``get_network_config``.
        """
        ...


@runtime_checkable
class SupportsNetworkReady(Protocol):
    """A store that others ask whether this node's network is there, such as a scheduler of pods."""

    async def network_ready(self, lease: Lease) -> None:
        """Say that the network of ``lease`` works on this node. Idempotent."""
        ...
