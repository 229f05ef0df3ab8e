"""What the responses of a watch mean: which events are new, and where the next stream starts."""

from collections.abc import Iterable

from flannel_sdk_etcd.errors import Compacted
from flannel_sdk_etcd.records import Event, KeyValue, WatchBatch
from flannel_sdk_etcd.schema import DELETE, EventMessage, WatchResponse
from flannel_sdk_etcd.server_words import failure_in
from flannel_sdk_etcd.transport import CallFailed, Failure

LAG_SECONDS = 4.0
"""A member that is behind what was seen for so long has not just been slow."""


class WatchHistory:
    """What was delivered of the store's history, over any number of streams. Does no I/O."""

    def __init__(self, start_revision: int) -> None:
        self.wanted = start_revision
        """Everything before this revision was delivered, or listed."""
        self._etcd = "etcd"
        self._cluster = 0
        self._held: list[Event] = []
        self._behind_since: float | None = None

    @property
    def asked_from(self) -> int:
        """The revision to ask for: one before the one wanted, whose events are dropped.

        A removal at the very revision that history is compacted to was left out of a watch from
        there on (etcd#18089, until 2024). Asked for the one before, etcd says that it is gone.
        """
        return max(1, self.wanted - 1)

    def new_stream(self, etcd: str) -> None:
        """Forget what the last stream left incomplete. ``etcd`` names the server in sentences."""
        self._etcd = etcd
        self._held = []

    def take(self, response: WatchResponse, received_at: float) -> WatchBatch | None:
        """The new events of ``response``, whole revisions; None if it has none.

        Compacted if events between ``wanted`` and now cannot be had any more; CallFailed if the
        server ended the watch for another reason.
        """
        # Before anything else: the response that says "created" may be the one that cancels.
        if response.canceled or response.compact_revision:
            raise self._end_of(response)
        self._check_cluster(response.header.cluster_id)
        if response.events:
            return self._new_events(response, received_at)
        if response.created or response.watch_id < 0:
            # The answer to a request of ours is of no watch, and older servers let it overtake
            # events (etcd#15220): it tells that the server lives and nothing of what it sent.
            self._note_store(response.header.revision, received_at)
        elif not self._held:
            self.wanted = max(self.wanted, response.header.revision + 1)
        return None

    def compacted(self, revision: int = 0) -> Compacted:
        """What to raise where ``wanted`` is gone; ``revision`` is the oldest one that is left."""
        if not revision:
            return Compacted(
                f"{self._etcd} has compacted its history beyond revision {self.wanted},"
                " from which on changes are needed: list the keys again.",
                self.wanted,
            )
        return Compacted(
            f"{self._etcd} has compacted its history up to revision {revision}, and changes from"
            f" revision {self.wanted} on are needed: list the keys again.",
            revision,
        )

    def _end_of(self, response: WatchResponse) -> Compacted | CallFailed:
        reason = response.cancel_reason
        failure = failure_in(reason) or Failure.REFUSED
        if response.compact_revision or failure is Failure.COMPACTED:
            return self.compacted(response.compact_revision)
        return CallFailed(failure, reason or "it ended the watch without a reason")

    def _check_cluster(self, cluster: int) -> None:
        if cluster in {0, self._cluster}:
            return  # 0: a gateway that does not tell
        if self._cluster:
            raise Compacted(
                f"{self._etcd} is of another cluster than before ({cluster:x}, not"
                f" {self._cluster:x}), whose revisions mean something else: list the keys again.",
                self.wanted,
            )
        self._cluster = cluster

    def _new_events(self, response: WatchResponse, received_at: float) -> WatchBatch | None:
        # etcd splits no revision over responses, unless a fragment says that more of it follows.
        events = _events_from(response.events, self.wanted)
        if self._held:
            events = self._held + events
        if response.fragment:
            self._held = events
            return None
        self._held = []
        if not events:
            return None
        revision = events[-1].entry.mod_revision
        self.wanted = revision + 1
        return WatchBatch(events, revision, received_at)

    def _note_store(self, revision: int, received_at: float) -> None:
        """Notice a store that was set back (a backup restored): its watches would stay silent.

        Some servers answer no request for progress on a watch that begins in their future, so a
        new stream's first response counts too. A member may lag behind for a moment.
        """
        if revision >= self.wanted - 1:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = received_at
        elif received_at - self._behind_since >= LAG_SECONDS:
            self._behind_since = None
            raise Compacted(
                f"{self._etcd} is at revision {revision}, though revision {self.wanted - 1} was"
                " seen before: its data was set back; list the keys again.",
                revision,
            )


def _events_from(messages: Iterable[EventMessage], wanted: int) -> list[Event]:
    found = []
    for message in messages:
        pair = message.kv
        revision = pair.mod_revision
        # A member that was sent a snapshot by its leader may repeat old events (etcd#20221).
        if revision >= wanted:
            entry = KeyValue(pair.key, pair.value, revision, pair.lease)
            found.append(Event(message.type == DELETE, entry))
    return found
