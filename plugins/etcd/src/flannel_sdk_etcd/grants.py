"""Etcd leases of our own: granted, put to use, and revoked when nothing lives by them any more."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from enum import Enum, auto

from flannel_sdk.errors import FlannelError
from flannel_sdk_etcd.records import KeyValue
from flannel_sdk_etcd.store_client import StoreClient
from flannel_sdk_etcd.undisturbed import undisturbed

_log = logging.getLogger(__name__)

REVOKE_SECONDS = 3.0
"""That giving an etcd lease back may take; then it is tried again later, or runs out."""


class Use(Enum):
    """What lives by a grant."""

    NONE = auto()
    """Nothing that has to stay: revoking it also fences a put that is still under way."""
    ENTRY = auto()
    """Our entry."""
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
    """Grants etcd leases and sees to it that none is left over."""

    def __init__(self, client: StoreClient, ttl: int) -> None:
        self._client = client
        self._ttl = ttl
        self._lives_by: dict[bytes, Grant] = {}
        """What we last put each entry of ours on."""
        self._orphans: set[int] = set()
        """Granted by us, of no use, and not revoked yet."""
        self._doubtful: set[int] = set()
        """Perhaps our entry lives by them; to be revoked when it lives by another one."""

    @asynccontextmanager
    async def new(self) -> AsyncIterator[Grant]:
        """An etcd lease that is revoked at the end unless it was put to use."""
        # Our own choice of the id: a grant whose answer is lost can be revoked too.
        grant = Grant(secrets.randbits(62) + 1, time.time() + self._ttl)
        try:
            await undisturbed(self._grant(grant))
            yield grant
        finally:
            if grant.use is Use.IN_DOUBT:
                self._doubtful.add(grant.id)
            elif grant.use is Use.NONE:
                self._orphans.add(grant.id)
                await undisturbed(self._revoke_orphan(grant.id))

    async def _grant(self, grant: Grant) -> None:
        await self._client.grant_lease(self._ttl, grant.id)

    def use(self, grant: Grant, key: bytes) -> None:
        """Our entry lives by ``grant`` now."""
        self.lost(key)
        grant.use = Use.ENTRY
        self._lives_by[key] = grant

    def expiry(self, key: bytes, etcd_lease: int) -> float | None:
        """When an entry's etcd lease ends (Unix time) if we granted it; None: not known."""
        grant = self._lives_by.get(key)
        return grant.expires_at if grant and grant.id == etcd_lease else None

    def lost(self, key: bytes) -> None:
        """The entry is not ours any more: its etcd lease is revoked with the next ones."""
        grant = self._lives_by.pop(key, None)
        if grant is not None:
            self._doubtful.add(grant.id)

    def lost_but(self, present: Iterable[KeyValue]) -> None:
        """All entries are lost but those ``present``."""
        if self._lives_by:
            for key in self._lives_by.keys() - {entry.key for entry in present}:
                self.lost(key)

    async def retire(self, etcd_lease: int) -> None:
        """Our entry does not live by it any more: revoke it unless other keys do."""
        self._doubtful.add(etcd_lease)
        await self.settle()

    async def settle(self) -> None:
        """Give back what could not be given back before. Never fails; takes seconds at most."""
        if self._orphans or self._doubtful:
            await undisturbed(self._settle())

    async def _settle(self) -> None:
        for number in list(self._orphans):
            if not await self._revoke_orphan(number):
                return
        for number in list(self._doubtful):
            if not await self._revoke_if_empty(number):
                return

    async def _revoke_orphan(self, number: int) -> bool:
        """False if the store did not answer."""
        try:
            async with asyncio.timeout(REVOKE_SECONDS):
                await self._client.revoke_lease(number)
        except (FlannelError, TimeoutError) as error:
            _log.debug("an etcd lease could not be revoked: %s", error)
            return False
        self._orphans.discard(number)
        return True

    async def _revoke_if_empty(self, number: int) -> bool:
        """False if the store did not answer."""
        try:
            async with asyncio.timeout(REVOKE_SECONDS):
                left = await self._client.lease_time(number)
                if left is not None and left.keys:
                    return True
                if left is not None:
                    await self._client.revoke_lease(number)
        except (FlannelError, TimeoutError) as error:
            _log.debug("an etcd lease could not be revoked: %s", error)
            return False
        self._doubtful.discard(number)
        return True
