"""A closed client leaves nothing of gRPC behind, however soon its event loop ends."""

import asyncio
from contextlib import aclosing

import pytest
from flannel_sdk_etcd.client import EtcdClient
from flannel_sdk_etcd.options import EtcdOptions

from flannel_sdk.errors import FlannelError
from plugins.etcd.tests.servers import Cluster

pytestmark = pytest.mark.server

_ROUNDS = 60
_AT_ONCE = 3


async def _watch(client: EtcdClient, key: bytes) -> None:
    async with aclosing(client.watch(key, 1, is_prefix=True)) as batches:
        async for _ in batches:
            pass


async def _read(client: EtcdClient, key: bytes) -> None:
    try:
        while True:
            await client.get(key)
    except FlannelError:
        pass  # it was closed


async def _use(url: str, prefix: str, turns: int, *, cancels: bool) -> None:
    client = EtcdClient(EtcdOptions(endpoints=(url,)))
    key = f"{prefix}/k".encode()
    await client.put(key, b"")
    users = [asyncio.create_task(_watch(client, key)) for _ in range(_AT_ONCE)]
    users.append(asyncio.create_task(_read(client, key)))
    for _ in range(turns):
        await asyncio.sleep(0)
    if cancels:
        for user in users:
            user.cancel()
        await asyncio.wait(users)
    await client.aclose()
    await asyncio.wait(users)


@pytest.mark.parametrize("cancels", [True, False])
def test_a_loop_that_ends_at_once_frees_the_connections_of_a_client(
    cancels: bool, etcd: Cluster, prefix: str
) -> None:
    for turns in range(_ROUNDS):
        loop = asyncio.new_event_loop()  # which asyncio.run would let run on for a moment
        try:
            loop.run_until_complete(_use(etcd.member.url, prefix, turns, cancels=cancels))
        finally:
            loop.close()
