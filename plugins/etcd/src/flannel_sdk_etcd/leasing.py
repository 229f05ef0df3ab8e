"""Acquiring and renewing our own lease: compare-and-set only, and every outcome certain (4.5)."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing, nullcontext
from random import Random
from typing import NamedTuple

from flannel_sdk.errors import (
    ConfigError,
    FlannelError,
    LeaseLost,
    MalformedEntry,
    OutOfSubnets,
)
from flannel_sdk.model import (
    Lease,
    LeaseAttrs,
    NetworkConfig,
    Subnets,
    choose_subnets,
    compatible,
    decode_entry,
    encode_attrs,
    is_same_node,
)
from flannel_sdk_etcd.decoding import held_subnets, read_entries
from flannel_sdk_etcd.errors import Compacted, EtcdLeaseGone, OutcomeUnknown
from flannel_sdk_etcd.grants import Grant, Grants
from flannel_sdk_etcd.keys import Keys
from flannel_sdk_etcd.records import KeyValue
from flannel_sdk_etcd.store_client import StoreClient
from flannel_sdk_etcd.undisturbed import undisturbed

_MOST_DOUBTS = 3
"""Writes without an answer that one call goes on after; then its caller has to wait."""

_MOST_SETBACKS = 20
"""Compactions and revoked etcd leases that one call goes on after; then its caller has to wait."""


class Wish(NamedTuple):
    """What a node wants a lease for."""

    config: NetworkConfig
    attrs: LeaseAttrs
    value: bytes
    previous: Subnets | None


class Listing(NamedTuple):
    """All entries at one revision, as far as acquiring needs them."""

    own: list[tuple[Lease, KeyValue]]
    """Those that publish our own address, the oldest first.

    Of several starts of one node at once the first to create an entry keeps it: what the others
    created is about to go, and must not be adopted.
    """
    others: list[Subnets]
    """What all others hold, those with an unreadable value too."""
    revision: int


class Leasing:
    """The writing half of the store. One acquisition at a time: the manager sees to that."""

    def __init__(self, client: StoreClient, keys: Keys, ttl: int) -> None:
        self._client = client
        self._keys = keys
        self._rng = Random()
        self.grants = Grants(client, ttl)

    async def acquire(
        self, config: NetworkConfig, attrs: LeaseAttrs, previous: Subnets | None
    ) -> Lease:
        """As ``SubnetManager.acquire_lease``, for this configuration."""
        if not attrs.public_ips.families:
            raise ConfigError("public-ip", "A node needs a public IP address to hold a lease.")
        wish = Wish(config, attrs, encode_attrs(attrs), previous)

        async def attempt() -> Lease:
            async with self.grants.new() as grant:
                # Each time round somebody else got what they wanted: no limit is needed.
                while (lease := await self._acquire_once(grant, wish)) is None:
                    pass
                return lease

        return await self._until_certain(attempt)

    async def renew(self, lease: Lease) -> Lease:
        """As ``SubnetManager.renew_lease``."""
        value = encode_attrs(lease.attrs)

        async def attempt() -> Lease:
            while (renewed := await self._renew_once(lease, value)) is None:
                pass
            return renewed

        return await self._until_certain(attempt)

    async def _until_certain(self, attempt: Callable[[], Awaitable[Lease]]) -> Lease:
        """Start again after a write whose outcome nobody knew; it can do no harm any more."""
        doubts = setbacks = 0
        await self.grants.settle()
        while True:
            try:
                return await attempt()
            except OutcomeUnknown:
                doubts += 1
                if doubts == _MOST_DOUBTS:
                    raise
            except (Compacted, EtcdLeaseGone):
                # Between two requests of ours; or another process of this node adopted what we had
                # just written, and so on.
                setbacks += 1
                if setbacks == _MOST_SETBACKS:
                    raise
            finally:
                await self.grants.settle()

    # -- acquiring -------------------------------------------------------------

    async def _acquire_once(self, grant: Grant, wish: Wish) -> Lease | None:
        """None if somebody else was faster."""
        listing = await self._list(wish.attrs)
        for lease, entry in listing.own:
            if compatible(lease.subnets, wish.config):
                return await self._rewrite(entry, lease.subnets, wish.attrs, wish.value, grant)
        return await self._create(listing, wish, grant)

    async def _list(self, attrs: LeaseAttrs) -> Listing:
        entries, revision = await self._entries()
        self.grants.seen(entries)
        leases, malformed = read_entries(self._keys, entries)
        own, others = [], held_subnets(entry.key for entry in malformed)
        for lease in leases:
            if is_same_node(lease.attrs.public_ips, attrs.public_ips):
                key = self._keys.of(lease.subnets)
                own.append((lease, next(entry for entry in entries if entry.key == key)))
            else:
                others.append(lease.subnets)
        own.sort(key=lambda found: found[1].create_revision)
        return Listing(own, others, revision)

    async def _entries(
        self, revision: int = 0, min_mod_revision: int = 0
    ) -> tuple[list[KeyValue], int]:
        entries: list[KeyValue] = []
        pages = self._client.list(
            self._keys.subnets, revision=revision, min_mod_revision=min_mod_revision
        )
        async with aclosing(pages):
            async for page in pages:
                entries += page.entries
                revision = page.revision
        return entries, revision

    async def _create(self, listing: Listing, wish: Wish, grant: Grant) -> Lease | None:
        """A new entry, instead of our own ones that fit no more."""
        wanted = [lease.subnets for lease, _ in listing.own]
        wanted += [wish.previous] if wish.previous else []
        subnets = choose_subnets(wish.config, listing.others, wanted, self._rng)
        for _, entry in listing.own:
            if not await self._remove(entry):
                return None
        key = self._keys.of(subnets)
        revision = await self._put_new(key, wish.value, grant)
        if revision is None:
            return None
        if not await self._was_free(subnets, key, listing.revision, revision, wish):
            await self._client.delete_if(key, revision)
            return None
        self.grants.moved(key, grant)
        return Lease(subnets, wish.attrs, grant.expires_at, revision)

    async def _remove(self, entry: KeyValue) -> bool:
        """False if it was changed meanwhile."""
        self.grants.removing(entry)
        commit = await self._client.delete_if(entry.key, entry.mod_revision)
        return commit.found is None

    async def _put_new(self, key: bytes, value: bytes, grant: Grant) -> int | None:
        """The revision of our new entry; None if the key is somebody else's.

        If it raises, revoking the grant removes what was written, or what still may be: etcd
        refuses a put with a lease that does not exist.
        """
        try:
            commit = await self._client.put_if(key, 0, value, grant.id)
        except OutcomeUnknown:
            found, _ = await self._client.get(key)
            if found is None or found.lease != grant.id:
                raise
            return found.mod_revision
        return commit.revision if commit.done else None

    async def _was_free(
        self, subnets: Subnets, key: bytes, listed: int, created: int, wish: Wish
    ) -> bool:
        """Whether no other key took a part of ``subnets`` between our listing and our creation.

        One key is created once only, but ``10.3.1.0-24`` and ``10.3.1.0-24&fc00::-64`` are two. Of
        two nodes that do so at once the second one sees the first one here, and gives way.
        """
        entries, _ = await self._entries(created, listed + 1)
        newer = [entry for entry in entries if entry.key != key]
        leases, malformed = read_entries(self._keys, newer)
        if any(is_same_node(lease.attrs.public_ips, wish.attrs.public_ips) for lease in leases):
            return False
        held = [lease.subnets for lease in leases]
        held += held_subnets(entry.key for entry in malformed)
        try:
            return choose_subnets(wish.config, held, [subnets], self._rng) == subnets
        except OutOfSubnets:
            return False

    # -- renewing --------------------------------------------------------------

    async def _renew_once(self, lease: Lease, value: bytes) -> Lease | None:
        """None if the entry was changed meanwhile."""
        key = self._keys.of(lease.subnets)
        entry, _ = await self._client.get(key)
        reason = None
        if entry is None:
            reason = "is gone: it was deleted or has expired"
        elif entry.mod_revision != lease.revision and not self._is_ours(entry, lease.attrs):
            reason = "belongs to another node now"
        if entry is None or reason is not None:
            self.grants.lost(key)
            raise LeaseLost(f"The lease {self._keys.name(key)} {reason}.")
        if not entry.lease:
            return await self._rewrite(entry, lease.subnets, lease.attrs, value, None)
        async with self.grants.new() as grant:
            return await self._rewrite(entry, lease.subnets, lease.attrs, value, grant)

    def _is_ours(self, entry: KeyValue, attrs: LeaseAttrs) -> bool:
        try:
            found = decode_entry(self._keys.name(entry.key), entry.value)
        except MalformedEntry:
            return False
        return is_same_node(found.attrs.public_ips, attrs.public_ips)

    async def _rewrite(
        self,
        entry: KeyValue,
        subnets: Subnets,
        attrs: LeaseAttrs,
        value: bytes,
        grant: Grant | None,
    ) -> Lease | None:
        """Our entry with a new value and a new end; None if it was changed meanwhile.

        A reservation stays one, and is not written where it says the same already.
        """
        if not entry.lease:
            self.grants.lost(entry.key)  # somebody made a reservation of our lease
            if entry.value == value:
                return Lease(subnets, attrs, None, entry.mod_revision)
            grant = None
        revision = await undisturbed(self._swap(entry, value, grant))
        if revision is None:
            return None
        return Lease(subnets, attrs, grant.expires_at if grant else None, revision)

    async def _swap(self, entry: KeyValue, value: bytes, grant: Grant | None) -> int | None:
        """The revision of the entry with its new value; None if it was changed meanwhile."""
        with self.grants.moving(entry, grant) if grant else nullcontext():
            return await self._swapped(entry, value, grant)

    async def _swapped(self, entry: KeyValue, value: bytes, grant: Grant | None) -> int | None:
        etcd_lease = grant.id if grant else 0
        try:
            commit = await self._client.put_if(entry.key, entry.mod_revision, value, etcd_lease)
            revision = commit.revision if commit.done else None
        except OutcomeUnknown:
            found, _ = await self._client.get(entry.key)
            if found is None or found.mod_revision == entry.mod_revision:
                raise
            if (found.lease, found.value) != (etcd_lease, value):
                raise
            revision = found.mod_revision
        except FlannelError:
            if grant:
                self.grants.stayed(grant)
            raise
        if grant and revision is not None:
            self.grants.moved(entry.key, grant)
        elif grant:
            self.grants.stayed(grant)
        return revision
