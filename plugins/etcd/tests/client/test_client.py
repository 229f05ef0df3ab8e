"""The client on a real etcd: each operation, long listings, compaction, several members."""

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest
from flannel_sdk_etcd.client import EtcdClient
from flannel_sdk_etcd.errors import Compacted
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.records import Commit, KeyValue

from flannel_sdk.errors import FlannelError, StoreUnavailable
from plugins.etcd.tests.proxy import OpenProxy
from plugins.etcd.tests.servers import Cluster, Setup, StartEtcd

pytestmark = pytest.mark.server

SECRET = "tr0ub4dor-and-3"


@asynccontextmanager
async def client_of(*urls: str, timeout: float = 5.0) -> AsyncIterator[EtcdClient]:
    client = EtcdClient(EtcdOptions(endpoints=urls, timeout=timeout))
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
async def client(etcd: Cluster) -> AsyncIterator[EtcdClient]:
    async with client_of(*etcd.urls) as opened:
        yield opened


@pytest.fixture
def key(prefix: str) -> bytes:
    return f"{prefix}/key".encode()


async def test_a_key_is_put_read_and_deleted_at_its_revision_only(
    client: EtcdClient, key: bytes
) -> None:
    assert (await client.get(key))[0] is None
    made = await client.put_if(key, 0, b"one")
    assert made == Commit(True, made.revision, None)
    assert await client.get(key) == (
        KeyValue(key, b"one", made.revision, 0, made.revision),
        made.revision,
    )

    again = await client.put_if(key, 0, b"two")
    assert again == Commit(
        False, made.revision, KeyValue(key, b"one", made.revision, 0, made.revision)
    )
    changed = await client.put_if(key, made.revision, b"two")
    assert changed.done
    late = await client.delete_if(key, made.revision)
    assert late == Commit(
        False, changed.revision, KeyValue(key, b"two", changed.revision, 0, made.revision)
    )
    assert (await client.delete_if(key, changed.revision)).done
    gone = await client.delete_if(key, changed.revision)
    assert (gone.done, gone.found) == (False, None)
    assert (await client.put_if(key, changed.revision, b"x")).done is False


async def test_a_key_lives_and_dies_with_its_etcd_lease(client: EtcdClient, key: bytes) -> None:
    lease = await client.grant_lease(60)
    assert 0 < lease < 2**63
    assert (await client.put_if(key, 0, b"v", lease)).done
    found, _ = await client.get(key)
    assert found is not None
    assert found.lease == lease
    left = await client.lease_time(lease)
    assert left is not None
    assert 50 < left.ttl <= 60
    assert left.keys == (key,)
    await client.revoke_lease(lease)
    assert (await client.get(key))[0] is None
    assert await client.lease_time(lease) is None
    await client.revoke_lease(lease)
    with pytest.raises(StoreUnavailable, match="lease not found"):
        await client.put_if(key, 0, b"v", lease)
    assert (await client.get(key))[0] is None, "a put without its etcd lease landed"


async def test_an_etcd_lease_with_an_id_of_our_own(client: EtcdClient) -> None:
    assert await client.grant_lease(60, 0x1234567) == 0x1234567
    with pytest.raises(StoreUnavailable, match="already exists"):
        await client.grant_lease(60, 0x1234567)
    await client.revoke_lease(0x1234567)


async def test_put_overwrites(client: EtcdClient, key: bytes) -> None:
    first = await client.put(key, b"1")
    second = await client.put(key, b"2")
    assert second > first
    assert await client.get(key) == (KeyValue(key, b"2", second, 0, first), second)


async def test_what_a_full_etcd_refuses_is_not_there(start_etcd: StartEtcd, prefix: str) -> None:
    etcd = start_etcd(Setup(flags=("--quota-backend-bytes=1000000",)))
    done: set[bytes] = set()
    refused: list[object] = []
    async with client_of(etcd.member.url, timeout=30) as client:
        for batch in range(20):
            # Many at once: those under way when it becomes full are done, and were refused.
            keys = [f"{prefix}/{batch}/{n}".encode() for n in range(1000)]
            writes = (client.put_if(key, 0, b"x" * 4000) for key in keys)
            answers = await asyncio.gather(*writes, return_exceptions=True)
            for key, answer in zip(keys, answers, strict=True):
                if isinstance(answer, Commit):
                    done.add(key)
                else:
                    refused.append(answer)
            if refused:
                break
        async with aclosing(client.list(f"{prefix}/".encode())) as pages:
            there = {entry.key async for page in pages for entry in page.entries}
    assert refused
    assert all(isinstance(error, StoreUnavailable) and "full" in str(error) for error in refused)
    assert there == done


async def test_a_listing_is_of_the_prefix_alone(client: EtcdClient, prefix: str) -> None:
    inside = [f"{prefix}/{name}".encode() for name in ("", "a", "b/c", "\U0010ffff")]
    outside = [f"{prefix}0".encode(), f"{prefix}-x".encode(), prefix.encode()]
    for key in inside + outside:
        await client.put(key, b"v")
    async with aclosing(client.list(f"{prefix}/".encode())) as pages:
        listed = [entry.key async for page in pages for entry in page.entries]
    assert listed == sorted(inside)


async def test_an_empty_listing_is_one_page(client: EtcdClient, key: bytes) -> None:
    revision = await client.put(key, b"v")
    async with aclosing(client.list(key + b"/none/")) as pages:
        found = [(page.entries, page.revision) async for page in pages]
    assert found == [([], revision)]


async def test_a_long_listing_under_writes_is_of_one_revision(
    client: EtcdClient, prefix: str
) -> None:
    keys = [f"{prefix}/{n:03}".encode() for n in range(95)]
    for key in keys:
        await client.put(key, b"before")
    entries: list[KeyValue] = []
    revisions = set()
    async with aclosing(client.list(f"{prefix}/".encode(), page=10)) as pages:
        async for page in pages:
            entries += page.entries
            revisions.add(page.revision)
            # behind, at and ahead of what was read
            for key in (keys[0], entries[-1].key, keys[-1]):
                await client.put(key, b"after")
            await client.put(f"{prefix}/{len(entries):03}x".encode(), b"new")
            gone, _ = await client.get(keys[-2])
            assert gone is None or (await client.delete_if(keys[-2], gone.mod_revision)).done
    assert [entry.key for entry in entries] == keys
    assert {entry.value for entry in entries} == {b"before"}
    assert len(revisions) == 1


async def test_a_listing_as_of_then_and_of_what_changed_since(
    client: EtcdClient, prefix: str
) -> None:
    under = f"{prefix}/".encode()
    then = await client.put(under + b"a", b"1")
    await client.put(under + b"b", b"2")
    async with aclosing(client.list(under, revision=then)) as pages:
        page = await anext(pages)
        assert ([entry.key for entry in page.entries], page.revision) == ([under + b"a"], then)
    async with aclosing(client.list(under, min_mod_revision=then + 1)) as pages:
        assert [entry.key for entry in (await anext(pages)).entries] == [under + b"b"]


async def test_compaction_between_two_pages_is_an_error_of_its_own(
    start_etcd: StartEtcd, prefix: str
) -> None:
    etcd = start_etcd(Setup())
    async with client_of(*etcd.urls) as client:
        for n in range(50):
            await client.put(f"{prefix}/{n}".encode(), b"v")
        async with aclosing(client.list(prefix.encode(), page=10)) as pages:
            await anext(pages)
            await anext(pages)
            await client.put(f"{prefix}/more".encode(), b"v")
            etcd.control.compact()
            # The next page may have been read ahead.
            with pytest.raises(Compacted):
                _ = [await anext(pages) for _ in range(2)]


async def test_values_beyond_four_megabytes(client: EtcdClient, prefix: str) -> None:
    for n in range(5):
        await client.put(f"{prefix}/{n}".encode(), b"x" * 1_000_000)
    async with aclosing(client.list(prefix.encode())) as pages:
        assert sum([len(entry.value) async for page in pages for entry in page.entries]) == 5e6


async def test_a_listing_that_is_left_early_leaves_nothing(client: EtcdClient, prefix: str) -> None:
    for n in range(30):
        await client.put(f"{prefix}/{n}".encode(), b"v")
    async with aclosing(client.list(prefix.encode(), page=10)) as pages:
        await anext(pages)
    reading = asyncio.create_task(_drained(client, prefix))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def _drained(client: EtcdClient, prefix: str) -> None:
    async with aclosing(client.list(prefix.encode(), page=1)) as pages:
        async for _ in pages:
            pass


async def test_a_member_that_falls_silent_is_left_for_another(
    etcd: Cluster, open_proxy: OpenProxy, key: bytes
) -> None:
    proxy = await open_proxy(etcd.member.port)
    async with client_of(proxy.url(), etcd.member.url, timeout=2) as client:
        await client.put(key, b"v")
        proxy.silence()
        for _ in range(3):
            found, _ = await client.get(key)
            assert found is not None
            await client.put(key, b"v")


async def test_no_secret_in_what_fails_or_is_logged(
    start_etcd: StartEtcd,
    prefix: str,
    open_proxy: OpenProxy,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    etcd = start_etcd(Setup())
    etcd.control.add_user("reader", SECRET, roles=["reading"])
    etcd.control.allow("reading", prefix, "READ")
    etcd.control.enable_auth("root-password")
    proxy = await open_proxy(etcd.member.port)
    key = f"{prefix}/k".encode()
    told: list[str] = []
    for url, user, password in (
        (proxy.url(), "reader", SECRET),
        (proxy.url(), "reader", f"{SECRET}-wrong"),
        ("http://127.0.0.1:1", "reader", SECRET),
    ):
        options = EtcdOptions.from_environ(
            {
                "FLANNELD_ETCD_ENDPOINTS": url,
                "FLANNELD_ETCD_USERNAME": user,
                "FLANNELD_ETCD_PASSWORD": password,
            }
        )
        for timeout, hinder in ((10.0, proxy.heal), (0.3, proxy.refuse)):
            client = EtcdClient(replace(options, timeout=timeout))
            told += [repr(options), repr(client), repr(vars(client)), client.name]
            hinder()
            told += await _all_failures(client, key)
            await client.aclose()
    assert len(told) >= 20
    said = json.dumps(told) + caplog.text + "".join(capfd.readouterr())
    assert "permission denied" in said
    assert SECRET not in said


async def _all_failures(client: EtcdClient, key: bytes) -> list[str]:
    told = []
    for call in (
        lambda: client.get(key),
        lambda: client.put(key, b"v"),
        lambda: client.put_if(b"elsewhere", 0, b"v"),
        lambda: client.grant_lease(60),
    ):
        try:
            await call()
        except FlannelError as error:
            told.append("".join(_chain(error)))
    return told


def _chain(error: BaseException | None) -> list[str]:
    """The traceback as any log would print it, and more."""
    if error is None:
        return []
    printed = traceback.TracebackException.from_exception(error, capture_locals=False).format()
    return [*printed, repr(error), str(error), repr(vars(error)), *_chain(error.__cause__)]
