"""A node whose public IP changes keeps its lease: one write, and its keeper sees no loss."""

import asyncio
import logging
from dataclasses import replace

import pytest

from flannel_sdk.engine.keeper import LeaseKeeper
from flannel_sdk.errors import LeaseLost
from flannel_sdk.model import encode_attrs, format_subnet_key
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.nodes import IPV4, node
from plugins.etcd.tests.store.site import Site


async def test_the_same_lease_is_published_with_another_public_ip(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await site.configure(IPV4)
    store = site.open()
    keeper = LeaseKeeper(store)
    first = await keeper.acquire_lease(node(1))
    key = format_subnet_key(first.subnets)
    running = asyncio.create_task(keeper.run())
    try:
        for number in (2, 3, 1):
            moved = await keeper.acquire_lease(node(number))
            assert moved.subnets == first.subnets
            assert (await site.entry(key)).value == encode_attrs(node(number))
        # The watch of our own lease has seen all of it once it sees this.
        await store.renew_lease(keeper.lease)
        await eventually(lambda: keeper.lease.revision > moved.revision, "seen")
        assert keeper.status()["reacquisitions"] == 0
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_an_entry_that_went_to_another_node_is_not_moved(site: Site) -> None:
    await site.configure(IPV4)
    store = site.open()
    keeper = LeaseKeeper(store)
    first = await keeper.acquire_lease(node(1))
    key = format_subnet_key(first.subnets)
    other = await store.renew_lease(replace(first, attrs=node(9)))
    with pytest.raises(LeaseLost):
        await store.renew_lease(replace(first, attrs=node(2)))
    again = await keeper.acquire_lease(node(2))
    assert again.subnets != first.subnets
    assert (await site.entry(key)).value == encode_attrs(other.attrs)
