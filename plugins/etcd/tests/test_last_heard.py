"""When etcd was heard last: also while nothing changes, and no later once it is gone."""

import asyncio
import time
from contextlib import aclosing

import pytest

from flannel_sdk.interfaces import SupportsLastHeard
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.load import manager, options, put_config
from plugins.etcd.tests.servers import Setup, StartEtcd

pytestmark = [pytest.mark.server, pytest.mark.slow]


async def test_a_server_is_heard_while_nothing_changes_and_not_once_it_is_gone(
    start_etcd: StartEtcd, prefix: str
) -> None:
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    async with manager(options(etcd.member.url, prefix=prefix)) as store:
        assert isinstance(store, SupportsLastHeard)
        assert store.last_heard() is None

        def heard_since(moment: float) -> bool:
            heard = store.last_heard()
            return heard is not None and heard > moment

        async with aclosing(store.watch_leases()) as items:
            await anext(items)
            following = asyncio.ensure_future(anext(items))
            try:
                told = time.monotonic()
                await eventually(lambda: heard_since(told), "heard though nothing changed", 30.0)
                await asyncio.to_thread(etcd.member.kill)
                gone = time.monotonic()
                await asyncio.to_thread(etcd.member.restart)
                await eventually(lambda: heard_since(gone), "heard again", 30.0)
                await asyncio.to_thread(etcd.member.kill)
                gone = time.monotonic()
                await asyncio.sleep(1.0)
                assert not heard_since(gone)
            finally:
                following.cancel()
                await asyncio.wait([following])
