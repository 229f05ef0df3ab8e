"""Errors of the etcd client, each also one of flannel_sdk's classes."""

from flannel_sdk.errors import StoreUnavailable


class Compacted(StoreUnavailable):
    """The history before ``revision`` is gone: list again, compare, and watch from that list on.

    Also where the store was set back to ``revision``, or another cluster answers.
    """

    def __init__(self, message: str, revision: int) -> None:
        super().__init__(message)
        self.revision = revision


class OutcomeUnknown(StoreUnavailable):
    """A write may have taken effect, or may still: read before writing again."""


class EtcdLeaseGone(StoreUnavailable):
    """The etcd lease that a write was to live by has ended or was revoked; nothing was written."""
