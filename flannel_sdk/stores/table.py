"""What the embedded stores are made of: a table of entries in flannel's format, and its log."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")


USUAL_START = b'{"PublicIP":"'
"""How an entry's value begins that flannel or we wrote; a digit follows."""


class Row(NamedTuple):
    """One entry; ``key`` is the part of flannel's key below ``subnets/``."""

    key: str
    value: bytes
    expires_at: float | None
    """Unix time in seconds; None for a reservation."""
    revision: int


class Changes(NamedTuple):
    """What a watcher has to read again."""

    keys: Sequence[str]
    """Keys written or deleted since, once each, in the order of their last change."""
    revision: int


class Reader(Protocol):
    """A consistent view of the table."""

    def epoch(self) -> str:
        """Names this table: revisions of another one mean nothing here."""
        ...

    def revision(self) -> int:
        """Number of the last change; grows with each write, also of the configuration."""
        ...

    def config(self) -> str | None:
        """The network configuration's document."""
        ...

    def rows(self) -> Sequence[tuple[str, bytes, float | None, int]]:
        """All entries (as plain tuples in Row's order) in key order, expired ones included."""
        ...

    def row(self, key: str) -> Row | None:
        """One entry."""
        ...

    def mentioning(self, text: str) -> Sequence[tuple[str, bytes, float | None, int]]:
        """The entries whose value holds ``text``, in key order."""
        ...

    def oddly_spelled(self) -> Sequence[tuple[str, bytes, float | None, int]]:
        """The entries in key order that may spell a public IPv4 address in another way than ours.

        That is, all but those that begin as flannel's do, and hold no JSON escape.
        """
        ...

    def all_keys(self) -> Sequence[str]:
        """All keys, in no particular order."""
        ...

    def changed_since(self, revision: int) -> Changes | None:
        """What changed after ``revision``; None where the log does not reach back that far."""
        ...

    def next_expiry(self) -> float | None:
        """When the next entry expires; None if none ever does."""
        ...


class Writer(Reader, Protocol):
    """The same within a transaction: nobody else writes, and all of it takes effect or nothing."""

    def put(self, key: str, value: bytes, expires_at: float | None) -> Row:
        """Write an entry, new or not."""
        ...

    def delete(self, key: str) -> None:
        """Delete an entry if it is there."""
        ...

    def delete_expired(self, now: float) -> None:
        """Delete the entries whose time has come."""
        ...

    def put_config(self, document: str) -> None:
        """Write the network configuration."""
        ...


class Wakeups(Protocol):
    """Says that the table may have changed; one wake-up may stand for many changes."""

    async def wait(self, timeout: float | None) -> None:
        """Return at a change since the last call, or after ``timeout`` seconds."""
        ...

    def close(self) -> None:
        """Hear of no more changes. Idempotent."""
        ...


class Storage(Protocol):
    """Where a table is kept. Errors are StoreUnavailable or StoreCorrupt."""

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run ``work`` on a consistent view."""
        ...

    async def write(self, work: Callable[[Writer], T]) -> T:
        """Run ``work`` in a transaction, committed if it returns; raising rolls back."""
        ...

    async def subscribe(self) -> Wakeups:
        """Wake-ups for each change from now on, until they are closed."""
        ...

    async def aclose(self) -> None:
        """Free everything. Idempotent."""
        ...
