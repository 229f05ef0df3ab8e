"""Acquiring and renewing, the same for each embedded store (flannel 4.5, 4.6)."""

import asyncio
import time

import pytest

from flannel_sdk.errors import (
    ConfigError,
    ConfigMissing,
    LeaseLost,
    OutOfSubnets,
    StoreUnavailable,
)
from flannel_sdk.interfaces import (
    SubnetManager,
    SubnetManagerPlugin,
    SupportsConfigWatch,
    SupportsConfigWrite,
)
from flannel_sdk.model import (
    ByFamily,
    IPAddress,
    LeaseAttrs,
    LeaseSnapshot,
    Prefix,
    encode_attrs,
    format_subnet_key,
)
from flannel_sdk.stores import memory, sqlite
from flannel_sdk.stores.manager import EmbeddedSubnetManager
from tests.stores.conftest import OpenStore
from tests.stores.nodes import (
    DUAL,
    IPV4,
    IPV6,
    ONE_SUBNET,
    TINY,
    address4,
    delete,
    node,
    put,
    subnets,
    watching,
)


def test_the_plugins_fulfil_their_contract(store: EmbeddedSubnetManager) -> None:
    for plugin in (memory.plugin, sqlite.plugin):
        assert isinstance(plugin, SubnetManagerPlugin)
        plugin.options_type()
    manager: SubnetManager = store
    assert isinstance(manager, SupportsConfigWrite)
    assert isinstance(manager, SupportsConfigWatch)


async def test_the_configuration_is_missing_wrong_or_there(open_store: OpenStore) -> None:
    store = open_store()
    with pytest.raises(ConfigMissing, match="no network configuration"):
        await store.get_network_config()
    with pytest.raises(ConfigMissing):
        await store.acquire_lease(node(1))
    with pytest.raises(ConfigError, match="Network"):
        await store.put_network_config('{"Network":"10.3.0.0/33"}')
    with pytest.raises(ConfigMissing):
        await store.get_network_config()
    config = await store.put_network_config(IPV4)
    assert config == await open_store().get_network_config()
    await store.storage.write(lambda table: table.put_config("{}"))
    with pytest.raises(ConfigError, match="Network"):
        await store.get_network_config()


async def test_a_lease_is_published_for_a_day(store: EmbeddedSubnetManager) -> None:
    before = time.time()
    lease = await store.acquire_lease(node(1))
    assert lease.attrs == node(1)
    assert lease.subnets.ipv4 is not None
    assert lease.subnets.ipv4.length == 24
    assert lease.expires_at is not None
    assert before + 86400 <= lease.expires_at <= time.time() + 86400
    row = await store.storage.read(lambda table: table.row(format_subnet_key(lease.subnets)))
    assert row is not None
    assert row.value == encode_attrs(node(1))
    assert row.revision == lease.revision > 0


async def test_an_entry_with_our_public_ip_is_adopted(open_store: OpenStore) -> None:
    store = open_store()
    await store.put_network_config(IPV4)
    first = await store.acquire_lease(node(1))
    other = await store.acquire_lease(node(2))
    changed = node(1, mac="c6:d2:32:6f:8f:45")
    again = await open_store().acquire_lease(changed, previous=subnets("10.3.99.0/24"))
    assert again.subnets == first.subnets != other.subnets
    assert again.attrs == changed
    assert again.revision > other.revision > first.revision


async def test_any_spelling_of_our_public_ip_is_adopted(store: EmbeddedSubnetManager) -> None:
    await put(store, "10.3.7.0-24", b'{"publicip":"::ffff:c0a8:1"}', time.time() + 60)
    assert (await store.acquire_lease(node(1))).subnets == subnets("10.3.7.0/24")


async def test_the_previous_subnet_is_taken_if_it_is_free(store: EmbeddedSubnetManager) -> None:
    wanted = subnets("10.3.77.0/24")
    assert (await store.acquire_lease(node(1), wanted)).subnets == wanted
    unfit = subnets("10.4.0.0/24")
    assert (await store.acquire_lease(node(2), unfit)).subnets != unfit


async def test_d9_the_previous_subnet_is_never_taken_from_its_holder(
    store: EmbeddedSubnetManager,
) -> None:
    held = await store.acquire_lease(node(1))
    other = await store.acquire_lease(node(2), previous=held.subnets)
    assert other.subnets != held.subnets
    assert (await store.renew_lease(held)).subnets == held.subnets
    unreadable = subnets("10.3.200.0/24")
    await put(store, "10.3.200.0-24", b"not a lease", time.time() + 60)
    assert (await store.acquire_lease(node(3), unreadable)).subnets != unreadable


async def test_d3_a_race_for_the_last_subnets_has_no_loser(open_store: OpenStore) -> None:
    stores = [open_store() for _ in range(3)]
    await stores[0].put_network_config(TINY)
    leases = await asyncio.gather(*(s.acquire_lease(node(i)) for i, s in enumerate(stores)))
    assert len({lease.subnets for lease in leases}) == 3
    with pytest.raises(OutOfSubnets, match="All 3 subnets"):
        await stores[0].acquire_lease(node(9))


async def test_d5_a_reservation_stays_one(store: EmbeddedSubnetManager) -> None:
    await put(store, "10.3.50.0-24", encode_attrs(node(1)))
    lease = await store.acquire_lease(node(1, mac="c6:d2:32:6f:8f:45"))
    assert lease.subnets == subnets("10.3.50.0/24")
    assert lease.expires_at is None
    renewed = await store.renew_lease(lease)
    assert renewed == lease
    row = await store.storage.read(lambda table: table.row("10.3.50.0-24"))
    assert row is not None
    assert row.expires_at is None


async def test_an_entry_of_ours_that_fits_no_more_is_replaced(store: EmbeddedSubnetManager) -> None:
    lease = await store.acquire_lease(node(1))
    await store.put_network_config(DUAL)
    grown = await store.acquire_lease(node(1))
    assert grown.subnets.ipv4 == lease.subnets.ipv4
    assert grown.subnets.ipv6 is not None
    await store.put_network_config('{"Network":"10.9.0.0/16"}')
    moved = await store.acquire_lease(node(1))
    assert moved.subnets.ipv4 is not None
    assert Prefix.parse("10.9.0.0/16").covers(moved.subnets.ipv4)
    keys = [row[0] for row in await store.storage.read(lambda table: table.rows())]
    assert keys == [format_subnet_key(moved.subnets)]


async def test_nothing_is_lost_when_no_subnet_is_left(open_store: OpenStore) -> None:
    store = open_store()
    await store.put_network_config(TINY)
    leases = [await store.acquire_lease(node(number)) for number in range(3)]
    before = await store.storage.read(lambda table: table.rows())
    await store.put_network_config(ONE_SUBNET)
    loser = next(lease for lease in leases if lease.subnets != subnets("10.3.0.4/30"))
    with pytest.raises(OutOfSubnets):
        await store.acquire_lease(loser.attrs)
    assert await store.storage.read(lambda table: table.rows()) == before


async def test_d10_ipv6_only_nodes_get_leases_of_their_own(open_store: OpenStore) -> None:
    store = open_store()
    await store.put_network_config(IPV6)
    attrs = [
        LeaseAttrs(ByFamily(None, IPAddress.parse(f"fd00::{number}"))) for number in range(1, 4)
    ]
    leases = [await store.acquire_lease(one) for one in attrs]
    assert len({lease.subnets for lease in leases}) == 3
    assert [(await store.acquire_lease(one)).subnets for one in attrs] == [
        lease.subnets for lease in leases
    ]
    async with watching(store) as items:
        snapshot = await anext(items)
    assert isinstance(snapshot, LeaseSnapshot)
    assert {lease.subnets for lease in snapshot.leases} == {lease.subnets for lease in leases}


async def test_a_node_without_a_public_ip_gets_none(store: EmbeddedSubnetManager) -> None:
    with pytest.raises(ConfigError, match="public IP"):
        await store.acquire_lease(LeaseAttrs(ByFamily()))


async def test_renewing_moves_the_expiry_and_publishes(store: EmbeddedSubnetManager) -> None:
    lease = await store.acquire_lease(node(1))
    changed = LeaseAttrs(ByFamily(address4(200)), "vxlan")
    renewed = await store.renew_lease(
        type(lease)(lease.subnets, changed, lease.expires_at, lease.revision)
    )
    assert renewed.attrs == changed
    assert renewed.expires_at is not None
    assert lease.expires_at is not None
    assert renewed.expires_at >= lease.expires_at
    assert renewed.revision > lease.revision
    # One that missed the last renewal is still ours by its public IP.
    assert (await store.renew_lease(renewed)).revision > renewed.revision
    assert (await store.renew_lease(renewed)).subnets == lease.subnets


async def test_d8_a_lease_that_is_gone_or_anothers_is_not_renewed(
    store: EmbeddedSubnetManager,
) -> None:
    lease = await store.acquire_lease(node(1))
    key = format_subnet_key(lease.subnets)
    await delete(store, lease)
    with pytest.raises(LeaseLost, match="deleted or has expired"):
        await store.renew_lease(lease)
    await put(store, key, encode_attrs(node(2)), time.time() + 60)
    with pytest.raises(LeaseLost, match="belongs to another node"):
        await store.renew_lease(lease)
    await put(store, key, b"{", time.time() + 60)
    with pytest.raises(LeaseLost):
        await store.renew_lease(lease)
    await put(store, key, encode_attrs(node(1)), time.time() - 1)
    with pytest.raises(LeaseLost):
        await store.renew_lease(lease)
    row = await store.storage.read(lambda table: table.row(key))
    assert row is None or row.value == encode_attrs(node(1))


async def test_an_expired_lease_is_given_to_the_next(open_store: OpenStore) -> None:
    store = open_store()
    await store.put_network_config(ONE_SUBNET)
    await put(store, "10.3.0.4-30", encode_attrs(node(1)), time.time() - 1)
    assert (await store.acquire_lease(node(2))).subnets == subnets("10.3.0.4/30")


async def test_a_closed_store_says_so(store: EmbeddedSubnetManager) -> None:
    lease = await store.acquire_lease(node(1))
    await store.aclose()
    await store.aclose()
    for ask in (
        store.get_network_config(),
        store.acquire_lease(node(1)),
        store.renew_lease(lease),
        store.put_network_config(IPV4),
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            await ask


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
def test_a_wrong_ttl_is_refused(ttl: float) -> None:
    with pytest.raises(ConfigError) as caught:
        memory.plugin.open(memory.MemoryOptions(ttl=ttl))
    assert caught.value.key == "ttl"
    with pytest.raises(ConfigError):
        sqlite.plugin.open(sqlite.SqliteOptions(ttl=ttl))
