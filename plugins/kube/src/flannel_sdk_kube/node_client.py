"""What the store asks of a client of the API server, and the little of a Node that it is told."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple, Protocol


class NodeEntry(NamedTuple):
    """All that a lease needs of a Node object."""

    name: str
    uid: str
    """Differs between two objects of one name: a node that was deleted and made again."""
    pod_cidrs: tuple[str, ...]
    """``spec.podCIDRs``, else ``spec.podCIDR`` alone, as they stand there; empty if none yet."""
    annotations: Mapping[str, str]
    """Those whose name begins with ``KubeOptions.annotation_stem``, by their whole name, as read.

    Never changed: entries are shared.
    """
    revision: str
    """``metadata.resourceVersion``; differs between two entries that are the same otherwise."""
    problem: str | None = None
    """Why the object is none that an API server may give (an annotation that is no text, ..)."""

    def is_same(self, other: "NodeEntry") -> bool:
        """Whether nothing that a lease needs differs; the revision may."""
        return self[:4] == other[:4] and self.problem == other.problem


class NodeSnapshot(NamedTuple):
    """All nodes at one moment."""

    nodes: Sequence[NodeEntry]
    received_at: float
    """``time.monotonic()`` when the last byte was there."""
    revision: int


class NodeDelta(NamedTuple):
    """What differs from the items before; apply ``removed`` first.

    A node that was deleted and made again is in both. A node whose lease part did not change
    (a heartbeat) is in none.
    """

    changed: Sequence[NodeEntry]
    removed: Sequence[NodeEntry]
    """As they were last known."""
    received_at: float
    """``time.monotonic()`` when the oldest change in it was received."""
    revision: int
    """The API server's where that is a number, else a counter; never falls within a stream."""


class NodeClient(Protocol):
    """The calls to the API server that the store is made of.

    StoreUnavailable is worth a retry. A PermanentError (mostly ConfigError: a wrong address,
    certificate, credential or permission) comes only while nothing has worked yet, and one for a
    permission also in the minute after; later the same may be a rotation or a restart in progress,
    and is StoreUnavailable.
    """

    name: str
    """``kube:https://10.96.0.1:443``"""

    async def node_name(self) -> str:
        """The name of this node: ``node_name`` of the options, else asked for by the pod's name.

        ConfigError if the options name neither, or there is no such pod.
        """
        ...

    async def get_node(self, name: str) -> NodeEntry | None:
        """The newest state of one node; None if there is none of this name."""
        ...

    async def patch_node_status(self, name: str, body: Mapping[str, object]) -> NodeEntry | None:
        """Strategic merge patch of ``nodes/NAME/status``: the node after it, None if it is gone.

        Patches are idempotent: one whose answer was lost may be sent again. StoreUnavailable also
        for what the API server refuses by its content (409, 422), with its reason.
        """
        ...

    def watch_nodes(self) -> AsyncGenerator[NodeSnapshot | NodeDelta, None]:
        """All nodes: one snapshot first, then what changes, with nothing lost and nothing twice.

        Reconnects inside, also over a gap, after which only what really differs is told. While
        items are not fetched, what comes is merged by node: intermediate states may be skipped, the
        newest never. Errors are raised only before the snapshot. Ends when the client is closed.
        """
        ...

    def watch_node(self, name: str) -> AsyncGenerator[NodeEntry | None, None]:
        """One node in the same manner: what it is now first, None while there is none.

        A node that was deleted and made again is told with its new uid, mostly without a None in
        between.
        """
        ...

    def last_heard(self) -> float | None:
        """See SupportsLastHeard."""
        ...

    async def aclose(self) -> None:
        """Close all connections and end all watches. Idempotent."""
        ...
