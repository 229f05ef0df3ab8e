"""The configuration: watched, whatever becomes of its key."""

import asyncio
import logging
from contextlib import aclosing
from functools import partial

import pytest

from flannel_sdk.model import NetworkConfig
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.nodes import DUAL, IPV4, IPV6, node
from plugins.etcd.tests.store.site import Site
from plugins.etcd.tests.store.test_lease_watches import soon


async def test_the_present_one_first_then_each_valid_change(site: Site) -> None:
    store = site.open()
    ipv4 = await store.put_network_config(IPV4)
    async with aclosing(store.watch_network_config()) as configs:
        assert await soon(configs) == ipv4
        await site.configure(IPV4 + " ")  # the same
        await store.acquire_lease(node(1))
        dual = await store.put_network_config(DUAL)
        assert await soon(configs) == dual
        assert await site.client.delete_if(site.keys.config, await revision(site))
        await site.configure(DUAL)  # a deletion says nothing, and neither does its end
        assert await soon_after(site, IPV6) == await soon(configs)


async def revision(site: Site) -> int:
    found, _ = await site.client.get(site.keys.config)
    assert found is not None
    return found.mod_revision


async def soon_after(site: Site, document: str) -> NetworkConfig:
    await site.configure(document)
    return NetworkConfig.parse(document)


async def test_one_that_is_made_later_is_waited_for(site: Site) -> None:
    async with aclosing(site.open().watch_network_config()) as configs:
        asking = asyncio.create_task(soon(configs))
        await asyncio.sleep(0)
        await site.configure(IPV4)
        assert await asking == NetworkConfig.parse(IPV4)


async def test_a_wrong_one_is_said_once_and_passed_over(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def said(text: str) -> int:
        return sum(text in record.getMessage() for record in caplog.records)

    with caplog.at_level(logging.WARNING):
        async with aclosing(site.open().watch_network_config()) as configs:
            for wrong, what, document in (
                (b"\xff" * 100_000, "not valid JSON", IPV4),
                (b'{"Network":"nonsense"}', "nonsense", DUAL),
            ):
                asking = asyncio.create_task(soon(configs))
                await site.configure(wrong)
                await eventually(partial(said, what), "the complaint")
                for _ in range(3):
                    await site.configure(wrong)
                await site.configure(document)
                assert await asking == NetworkConfig.parse(document)
                assert said(what) == 1
    assert said("is passed over") == 2
    assert all(len(record.getMessage()) < 500 for record in caplog.records)
