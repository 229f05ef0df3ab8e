"""A cluster as the store sees it: reads, compare-and-set, etcd leases and watches."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator

from flannel_sdk.errors import StoreUnavailable
from flannel_sdk_etcd.calls import Calls
from flannel_sdk_etcd.errors import Compacted, EtcdLeaseGone, OutcomeUnknown
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.records import Commit, KeyValue, LeaseTime, Page, WatchBatch
from flannel_sdk_etcd.schema import (
    Compare,
    DeleteRangeRequest,
    KeyValueMessage,
    LeaseGrantRequest,
    LeaseGrantResponse,
    LeaseRevokeRequest,
    LeaseRevokeResponse,
    LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
    PutRequest,
    RangeRequest,
    RangeResponse,
    RequestOp,
    TxnRequest,
    TxnResponse,
)
from flannel_sdk_etcd.transport import CallFailed, Connection, Failure, Method, Transport


class EtcdClient:
    """A cluster, seen through one member at a time.

    Every call ends within ``options.timeout`` seconds. Reads are repeated on any member; a write
    is sent once, and raises OutcomeUnknown if it may have taken effect. All else that fails is
    StoreUnavailable; or a PermanentError (wrong password, wrong CA, no right) as long as nothing
    has worked yet: later the same may be a rotation in progress.
    """

    def __init__(self, options: EtcdOptions, transport: Transport | None = None) -> None:
        """No I/O. ``transport`` replaces gRPC."""
        self._calls = Calls(options, transport or _grpc(options))
        self.name = f"etcd:{','.join(map(str, options.members()))}"
        self.closed = self._calls.members.closed
        """Set when the client is closed."""

    async def get(self, key: bytes) -> tuple[KeyValue | None, int]:
        """One key as it is now (linearizable), and the store's revision."""
        response = await self._range(RangeRequest(key=key))
        return _first(response), response.header.revision

    async def list(
        self,
        prefix: bytes,
        page: int = 10_000,
        *,
        revision: int = 0,
        min_mod_revision: int = 0,
    ) -> AsyncGenerator[Page, None]:
        """All keys that begin with ``prefix``, as they were at one revision, in key order.

        ``revision``: the one wanted, 0 for now. ``min_mod_revision`` leaves out what was last
        changed before it. One page at least; the next one is fetched while one is used. Compacted
        if the revision is gone. Close it with ``aclosing``.
        """

        async def received(request: RangeRequest) -> tuple[RangeResponse, float]:
            return await self._range(request), time.monotonic()

        def page_from(key: bytes, revision: int) -> asyncio.Task[tuple[RangeResponse, float]]:
            request = RangeRequest(
                key=key,
                range_end=_after(prefix),
                limit=page,
                revision=revision,
                min_mod_revision=min_mod_revision,
            )
            return asyncio.create_task(received(request), name="a page of etcd's keys")

        ahead = page_from(prefix, revision)
        try:
            while True:
                response, received_at = await ahead
                revision = revision or response.header.revision
                if response.more:
                    ahead = page_from(response.kvs[-1].key + b"\0", revision)
                yield Page([_entry(kv) for kv in response.kvs], revision, received_at)
                if not response.more:
                    return
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def put_if(self, key: bytes, expected: int, value: bytes, lease: int = 0) -> Commit:
        """Write if the key's mod_revision is ``expected``; 0: if there is no such key.

        ``lease``: the etcd lease that the key is to live by; EtcdLeaseGone if there is none.
        """
        put = RequestOp(request_put=PutRequest(key=key, value=value, lease=lease))
        try:
            return await self._if_at(key, expected, put)
        except StoreUnavailable as error:
            if _says(error, Failure.NOT_FOUND):
                raise EtcdLeaseGone(str(error)) from error
            if not _says(error, Failure.NO_SPACE):
                raise
            found = await self._found_though_full(key, error)
            if (
                found
                and found.mod_revision > expected
                and (found.value, found.lease) == (value, lease)
            ):
                return Commit(True, found.mod_revision, None)
            raise

    async def delete_if(self, key: bytes, expected: int) -> Commit:
        """Remove the key if its mod_revision is ``expected``."""
        delete = RequestOp(request_delete_range=DeleteRangeRequest(key=key))
        return await self._if_at(key, expected, delete)

    async def put(self, key: bytes, value: bytes) -> int:
        """Write whatever is there; the store's revision."""
        put = RequestOp(request_put=PutRequest(key=key, value=value))
        try:
            response = await self._calls.tell(Method.TXN, TxnRequest(success=[put]), TxnResponse)
        except StoreUnavailable as error:
            if _says(error, Failure.NO_SPACE):
                found = await self._found_though_full(key, error)
                if found and found.value == value:
                    return found.mod_revision
            raise
        return response.header.revision

    async def grant_lease(self, ttl: int, lease: int = 0) -> int:
        """Make an etcd lease of ``ttl`` seconds, and return its id.

        ``lease`` is that id, 0 for a random one. Who chooses it can revoke it though the answer
        is lost.
        """
        chosen = lease or secrets.randbits(62) + 1
        request = LeaseGrantRequest(TTL=ttl, ID=chosen)
        granted = await self._calls.tell(Method.LEASE_GRANT, request, LeaseGrantResponse)
        if granted.error:
            raise StoreUnavailable(f"{self.name} granted no lease: {granted.error}.")
        return chosen

    async def revoke_lease(self, lease: int) -> None:
        """End an etcd lease and remove its keys; fine if it is gone. Repeated as reads are."""
        request = LeaseRevokeRequest(ID=lease)
        try:
            await self._calls.ask(Method.LEASE_REVOKE, request, LeaseRevokeResponse)
        except StoreUnavailable as error:
            if not _says(error, Failure.NOT_FOUND):
                raise

    async def lease_time(self, lease: int) -> LeaseTime | None:
        """What remains of an etcd lease; None if it is gone."""
        request = LeaseTimeToLiveRequest(ID=lease, keys=True)
        try:
            left = await self._calls.ask(
                Method.LEASE_TIME_TO_LIVE, request, LeaseTimeToLiveResponse
            )
        except StoreUnavailable as error:
            if _says(error, Failure.NOT_FOUND):
                return None
            raise
        return LeaseTime(left.TTL, tuple(left.keys)) if left.TTL >= 0 else None

    def watch(
        self, key: bytes, start_revision: int, *, is_prefix: bool = False
    ) -> AsyncGenerator[WatchBatch, None]:
        """The changes of a key, or of all that begin with it, from ``start_revision`` on.

        Reconnects inside, for ever. Compacted if the history from there on is gone.
        """
        from flannel_sdk_etcd.watch import watch

        return watch(self, key, _after(key) if is_prefix else b"", start_revision)

    async def connected(self) -> tuple[Connection, str | None]:
        """See WatchSource."""
        return await self._calls.connected()

    def failed(self, connection: Connection, error: CallFailed) -> StoreUnavailable:
        """See WatchSource."""
        return self._calls.failed(connection, error)

    def heard(self) -> None:
        """See WatchSource."""
        self._calls.members.heard()

    def last_heard(self) -> float | None:
        """See StoreClient."""
        return self._calls.members.heard_at

    async def aclose(self) -> None:
        """End all calls, watches and connections. Idempotent."""
        await self._calls.members.aclose()

    async def _range(self, request: RangeRequest) -> RangeResponse:
        try:
            return await self._calls.ask(Method.RANGE, request, RangeResponse)
        except StoreUnavailable as error:
            if _says(error, Failure.COMPACTED):
                raise Compacted(str(error), request.revision + 1) from error
            raise

    async def _found_though_full(self, key: bytes, error: StoreUnavailable) -> KeyValue | None:
        """The key after a write that etcd had no room for; OutcomeUnknown if it cannot be read.

        The write that runs out of room is carried out and refused all the same.
        """
        try:
            return (await self.get(key))[0]
        except StoreUnavailable:
            raise OutcomeUnknown(f"Whether a write took effect is not known: {error}") from error

    async def _if_at(self, key: bytes, expected: int, change: RequestOp) -> Commit:
        is_expected = Compare(
            result=Compare.EQUAL, target=Compare.MOD, key=key, mod_revision=expected
        )
        look = RequestOp(request_range=RangeRequest(key=key))
        request = TxnRequest(compare=[is_expected], success=[change], failure=[look])
        response = await self._calls.tell(Method.TXN, request, TxnResponse)
        found = None if response.succeeded else _first(response.responses[0].response_range)
        return Commit(response.succeeded, response.header.revision, found)


def _grpc(options: EtcdOptions) -> Transport:
    from flannel_sdk_etcd.grpc_transport import GrpcTransport

    return GrpcTransport(options)


def _says(error: StoreUnavailable, failure: Failure) -> bool:
    return isinstance(error.__cause__, CallFailed) and error.__cause__.failure is failure


def _entry(kv: KeyValueMessage) -> KeyValue:
    return KeyValue(kv.key, kv.value, kv.mod_revision, kv.lease, kv.create_revision)


def _first(response: RangeResponse) -> KeyValue | None:
    return _entry(response.kvs[0]) if response.kvs else None


def _after(prefix: bytes) -> bytes:
    """The first key behind all that begin with ``prefix``; etcd's word for "to the end" if none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b"\0"
