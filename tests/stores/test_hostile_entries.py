"""Entries of a store file that only plain SQL can write: each hides itself and no other."""

import sqlite3
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from flannel_sdk.model import ByFamily, IPAddress, LeaseAttrs, LeaseSnapshot, Subnets
from flannel_sdk.stores.sqlite import SqliteOptions, plugin

NOT_UTF8 = "CAST(x'31ff' AS TEXT)"


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT INTO leases (key, value) VALUES ({NOT_UTF8}, x'7b7d')",
        f"INSERT INTO changes (key) VALUES ({NOT_UTF8})",
        "INSERT INTO leases (key, value) VALUES ('10.5.3.0-24' || char(0), x'7b7d')",
        "INSERT INTO leases (key, value) VALUES ('10.5.3.0-24', 7)",
    ],
)
async def test_it_hides_itself_only(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "net.db"
    store = plugin.open(SqliteOptions(str(path)))
    try:
        await store.put_network_config('{"Network": "10.5.0.0/16"}')
        ours = await store.acquire_lease(LeaseAttrs(ByFamily(IPAddress.parse("192.0.2.1"))))
        async with aclosing(store.watch_leases()) as items:
            await anext(items)
            with closing(sqlite3.connect(path)) as other, other:
                other.execute(statement)
            theirs = await store.acquire_lease(LeaseAttrs(ByFamily(IPAddress.parse("192.0.2.2"))))
            seen: set[Subnets] = set()
            while theirs.subnets not in seen:
                item = await anext(items)
                assert not isinstance(item, LeaseSnapshot)
                seen.update(lease.subnets for lease in item.changed)
        async with aclosing(store.watch_leases()) as items:
            snapshot = await anext(items)
        assert isinstance(snapshot, LeaseSnapshot)
        assert {lease.subnets for lease in snapshot.leases} == {ours.subnets, theirs.subnets}
    finally:
        await store.aclose()
