"""What the store needs of an etcd client: few calls, each with a certain outcome or an error."""

from collections.abc import AsyncGenerator
from typing import Protocol

from flannel_sdk_etcd.records import Commit, KeyValue, LeaseTime, Page, WatchBatch


class StoreClient(Protocol):
    """Implemented by ``EtcdClient``; by a fake in the tests.

    Every call raises StoreUnavailable if no member answers in time, and a PermanentError where
    trying again cannot help. A write that may have taken effect raises OutcomeUnknown.
    """

    name: str
    """What people call the cluster, without secrets: ``etcd:http://127.0.0.1:2379``."""

    async def get(self, key: bytes) -> tuple[KeyValue | None, int]:
        """One key, and the store's revision."""
        ...

    def list(
        self,
        prefix: bytes,
        page: int = 10_000,
        *,
        revision: int = 0,
        min_mod_revision: int = 0,
    ) -> AsyncGenerator[Page, None]:
        """All keys that begin with ``prefix``, as they were at one revision, in pages.

        ``revision``: the one wanted, 0 for now. ``min_mod_revision`` leaves out what was last
        changed before it. At least one page, however empty. Compacted if the revision is gone.
        """
        ...

    async def put_if(self, key: bytes, expected: int, value: bytes, lease: int = 0) -> Commit:
        """Write if the key's mod_revision is ``expected``; 0: if there is no such key.

        EtcdLeaseGone, and nothing written, if there is no etcd lease ``lease``.
        """
        ...

    async def delete_if(self, key: bytes, expected: int) -> Commit:
        """Remove the key if its mod_revision is ``expected``."""
        ...

    async def put(self, key: bytes, value: bytes) -> int:
        """Write whatever is there; the store's revision."""
        ...

    async def grant_lease(self, ttl: int, lease: int) -> int:
        """Make an etcd lease of ``ttl`` seconds with the id ``lease``, which is returned."""
        ...

    async def revoke_lease(self, lease: int) -> None:
        """End an etcd lease and remove its keys; fine if it is gone."""
        ...

    async def lease_time(self, lease: int) -> LeaseTime | None:
        """What remains of an etcd lease; None if it is gone."""
        ...

    def watch(
        self, key: bytes, start_revision: int, *, is_prefix: bool = False
    ) -> AsyncGenerator[WatchBatch, None]:
        """The changes of a key from ``start_revision`` on; reconnects inside.

        Compacted if the history from there on is gone.
        """
        ...

    def last_heard(self) -> float | None:
        """See SupportsLastHeard."""
        ...

    async def aclose(self) -> None:
        """End all calls and connections. Idempotent."""
        ...
