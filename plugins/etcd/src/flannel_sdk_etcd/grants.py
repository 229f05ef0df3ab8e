"""Etcd leases of our own: granted, put to use, and revoked when nothing lives by them any more."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from enum import Enum, auto

from flannel_sdk.errors import FlannelError
from flannel_sdk_etcd.errors import OutcomeUnknown
from flannel_sdk_etcd.records import KeyValue
from flannel_sdk_etcd.store_client import StoreClient
from flannel_sdk_etcd.undisturbed import undisturbed

_log = logging.getLogger(__name__)

SETTLE_SECONDS = 3.0
"""That giving etcd leases back may take; then it is tried again later, or they run out."""


class Use(Enum):
    """What lives by a grant."""

    NONE = auto()
    """Nothing that has to stay: revoking it also fences a put that is still under way."""
    ENTRY = auto()
    """Our entry."""
    REFUSED = auto()
    """It was not granted: to revoke it would end somebody else's, should its id be theirs."""
    IN_DOUBT = auto()
    """Maybe our entry, by a put whose outcome is not known: it must not be revoked blindly."""


class Grant:
    """An etcd lease that our entry is to live by."""

    def __init__(self, number: int, expires_at: float) -> None:
        self.id = number
        self.expires_at = expires_at
        """Unix time that it does not end before."""
        self.use = Use.NONE


class Grants:
    """Grants etcd leases and sees to it that none of ours is left over.

    What is not needed any more is noted, and revoked by ``settle``; if that fails, by the next one.
    """

    def __init__(self, client: StoreClient, ttl: int) -> None:
        self._client = client
        self._ttl = ttl
        self._lives_by: dict[bytes, Grant] = {}
        """What we last put each entry of ours on."""
        self._unused: set[int] = set()
        """To be revoked with whatever a late put may still attach to them."""
        self._late: set[int] = set()
        """Unused ones that may come to be only after they were revoked: it is done twice."""
        self._superseded: set[int] = set()
        """To be revoked if no key lives by them: others may have attached some."""
        self._in_doubt: dict[int, KeyValue] = {}
        """By these an entry of ours may live, or still come to live, that was as given before."""
        self._in_flight: set[int] = set()
        """Those of them whose put is being made: whether it needs them again is not known yet."""

    @asynccontextmanager
    async def new(self) -> AsyncIterator[Grant]:
        """An etcd lease, which was not needed unless it was put to use."""
        # Our own choice of the id: a grant whose answer is lost can be revoked too.
        grant = Grant(secrets.randbits(62) + 1, time.time() + self._ttl)
        try:
            await undisturbed(self._grant(grant))
            yield grant
        finally:
            if grant.use is Use.NONE:
                self._unused.add(grant.id)

    async def _grant(self, grant: Grant) -> None:
        try:
            await self._client.grant_lease(self._ttl, grant.id)
        except (OutcomeUnknown, asyncio.CancelledError):
            self._late.add(grant.id)
            raise
        except FlannelError:
            grant.use = Use.REFUSED
            raise

    @contextmanager
    def moving(self, entry: KeyValue, grant: Grant) -> Iterator[None]:
        """Around letting our entry live by ``grant``, which ends in doubt unless something is said.

        Within, nobody else gives ``grant`` up: who lost a race for the entry tries again with it.
        """
        grant.use = Use.IN_DOUBT
        self._in_doubt[grant.id] = entry
        self._in_flight.add(grant.id)
        self._superseded.add(entry.lease)
        try:
            yield
        finally:
            self._in_flight.discard(grant.id)

    def moved(self, key: bytes, grant: Grant) -> None:
        """Our entry lives by ``grant`` now."""
        self._in_doubt.pop(grant.id, None)
        self.lost(key)
        for number, before in self._doubtful():
            if before.key == key:
                self._supersede(number)
        grant.use = Use.ENTRY
        self._lives_by[key] = grant

    def stayed(self, grant: Grant) -> None:
        """Our entry certainly does not live by ``grant``, and will not."""
        self._in_doubt.pop(grant.id, None)
        grant.use = Use.NONE

    def removing(self, entry: KeyValue) -> None:
        """Our entry is about to go by our own hand."""
        if entry.lease:
            self._superseded.add(entry.lease)

    def lost(self, key: bytes) -> None:
        """The entry is not what it was when we wrote it."""
        grant = self._lives_by.pop(key, None)
        if grant is not None:
            self._superseded.add(grant.id)

    def seen(self, entries: Iterable[KeyValue]) -> None:
        """These are all entries, or all that we ask about: notice those that are lost."""
        if not (self._lives_by or self._in_doubt):
            return
        present = {entry.key: entry for entry in entries}
        for key, grant in list(self._lives_by.items()):
            if key not in present or present[key].lease != grant.id:
                self.lost(key)
        for number, before in self._doubtful():
            now = present.get(before.key)
            if now is None or (now.mod_revision != before.mod_revision and now.lease != number):
                self._supersede(number)

    def _doubtful(self) -> list[tuple[int, KeyValue]]:
        return [
            (number, before)
            for number, before in self._in_doubt.items()
            if number not in self._in_flight
        ]

    def _supersede(self, number: int) -> None:
        del self._in_doubt[number]
        self._superseded.add(number)

    def expiry(self, key: bytes, etcd_lease: int) -> float | None:
        """When an entry's etcd lease ends (Unix time) if we granted it; None: not known."""
        grant = self._lives_by.get(key)
        return grant.expires_at if grant and grant.id == etcd_lease else None

    async def settle(self) -> None:
        """Revoke what is not needed. Never fails; takes seconds at most."""
        if self._unused or self._superseded:
            await undisturbed(self._settle())

    async def _settle(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                for number in list(self._unused):
                    await self._or_later(self._revoke_unused(number))
                for number in list(self._superseded):
                    await self._or_later(self._revoke_superseded(number))

    async def _or_later(self, revoking: Awaitable[None]) -> None:
        """One that cannot be revoked keeps none of the others."""
        try:
            await revoking
        except FlannelError as error:
            _log.debug("an etcd lease is not revoked yet: %s", error)

    async def _revoke_unused(self, number: int) -> None:
        await self._client.revoke_lease(number)
        (self._late if number in self._late else self._unused).discard(number)

    async def _revoke_superseded(self, number: int) -> None:
        left = await self._client.lease_time(number)
        if left is not None and left.keys:
            return
        if left is not None:
            await self._client.revoke_lease(number)
        self._superseded.discard(number)
