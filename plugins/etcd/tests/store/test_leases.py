"""Acquiring and renewing: adoption, previous subnets, races, reservations, etcd leases."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TypeVar

import pytest
from flannel_sdk_etcd.manager import EtcdSubnetManager
from flannel_sdk_etcd.options import EtcdOptions

from flannel_sdk.errors import (
    ConfigError,
    ConfigMissing,
    LeaseLost,
    OutOfSubnets,
    StoreUnavailable,
)
from flannel_sdk.interfaces import SubnetManager, SupportsConfigWatch, SupportsConfigWrite
from flannel_sdk.model import (
    ByFamily,
    LeaseAttrs,
    Prefix,
    encode_attrs,
    format_subnet_key,
)
from plugins.etcd.tests.fake_client import FakeClient, FakeEtcd
from plugins.etcd.tests.nodes import (
    DUAL,
    IPV4,
    IPV6,
    ONE_SUBNET,
    PREFIX,
    TINY,
    node,
    node6,
    node_dual,
    subnets,
)
from plugins.etcd.tests.store.site import Site, fake_site

T = TypeVar("T")


@pytest.fixture
async def store(site: Site) -> EtcdSubnetManager:
    """A manager of an IPv4 network."""
    await site.configure(IPV4)
    return site.open()


async def test_it_is_what_the_contract_wants(store: EtcdSubnetManager) -> None:
    manager: SubnetManager = store
    assert isinstance(manager, SupportsConfigWatch)
    assert isinstance(manager, SupportsConfigWrite)
    assert store.name.startswith("etcd:")


async def test_the_configuration_is_missing_wrong_or_there(site: Site) -> None:
    store = site.open()
    with pytest.raises(ConfigMissing, match="no network configuration yet: there is no key /"):
        await store.get_network_config()
    with pytest.raises(ConfigMissing):
        await store.acquire_lease(node(1))
    with pytest.raises(ConfigError, match="Network"):
        await store.put_network_config('{"Network":"10.3.0.0/33"}')
    with pytest.raises(ConfigMissing):
        await store.get_network_config()
    config = await store.put_network_config(IPV4)
    assert config == await site.open().get_network_config()
    for wrong in (b"{}", b"", b"\xff", b"[" * 1_000_000):
        await site.configure(wrong)
        with pytest.raises(ConfigError):
            await store.get_network_config()
        with pytest.raises(ConfigError):
            await store.acquire_lease(node(1))


async def test_a_lease_is_published_for_a_day(site: Site, store: EtcdSubnetManager) -> None:
    before = time.time()
    lease = await store.acquire_lease(node(1))
    assert lease.attrs == node(1)
    assert lease.subnets.ipv4 is not None
    assert lease.subnets.ipv4.length == 24
    assert lease.expires_at is not None
    assert before + 86400 <= lease.expires_at <= time.time() + 86400
    entry = await site.entry(format_subnet_key(lease.subnets))
    assert entry.value == encode_attrs(node(1))
    assert entry.mod_revision == lease.revision
    left = await site.client.lease_time(entry.lease)
    assert left is not None
    assert 86390 <= left.ttl <= 86400
    assert list(left.keys) == [entry.key]


async def test_an_entry_with_our_public_ip_is_adopted(site: Site, store: EtcdSubnetManager) -> None:
    first = await store.acquire_lease(node(1))
    other = await store.acquire_lease(node(2))
    old = (await site.entry(format_subnet_key(first.subnets))).lease
    changed = node(1, mac="c6:d2:32:6f:8f:45")
    again = await site.open().acquire_lease(changed, previous=subnets("10.3.99.0/24"))
    assert again.subnets == first.subnets != other.subnets
    assert again.attrs == changed
    assert again.revision > other.revision > first.revision
    entry = await site.entry(format_subnet_key(first.subnets))
    assert entry.value == encode_attrs(changed)
    assert entry.lease not in {0, old}
    assert await site.client.lease_time(old) is None


async def test_the_oldest_compatible_entry_is_adopted(site: Site, store: EtcdSubnetManager) -> None:
    for name in ("10.3.8.0-25", "10.3.10.0-24", "10.3.9.0-24", "10.3.10.0-24"):
        await site.put(name, encode_attrs(node(1)))
    assert (await store.acquire_lease(node(1))).subnets == subnets("10.3.10.0/24")


async def test_any_spelling_of_our_public_ip_is_adopted(
    site: Site, store: EtcdSubnetManager
) -> None:
    await site.put("10.3.7.0-24", '{"publicip":"::ffff:c0a8:1"}')
    assert (await store.acquire_lease(node(1))).subnets == subnets("10.3.7.0/24")


async def test_the_previous_subnet_is_taken_if_it_is_free(store: EtcdSubnetManager) -> None:
    wanted = subnets("10.3.77.0/24")
    assert (await store.acquire_lease(node(1), wanted)).subnets == wanted
    unfit = subnets("10.4.0.0/24")
    assert (await store.acquire_lease(node(2), unfit)).subnets != unfit


async def test_d9_the_previous_subnet_is_never_taken_from_its_holder(
    site: Site, store: EtcdSubnetManager
) -> None:
    held = await store.acquire_lease(node(1))
    other = await store.acquire_lease(node(2), previous=held.subnets)
    assert other.subnets != held.subnets
    assert (await store.renew_lease(held)).subnets == held.subnets
    for name in ("10.3.200.0-24", "10.3.201.0-24&fc00:0:0:1::-64"):
        await site.put(name, "not a lease")
    for number, taken in ((3, "10.3.200.0/24"), (4, "10.3.201.0/24")):
        found = await store.acquire_lease(node(number), subnets(taken))
        assert found.subnets != subnets(taken)


async def test_d3_a_race_for_the_last_subnets_has_no_loser(site: Site) -> None:
    await site.configure(TINY)
    stores = [site.open() for _ in range(3)]
    leases = await asyncio.gather(*(s.acquire_lease(node(i)) for i, s in enumerate(stores)))
    assert len({lease.subnets for lease in leases}) == 3
    with pytest.raises(OutOfSubnets, match="All 3 subnets"):
        await stores[0].acquire_lease(node(9))
    assert await site.unused_etcd_leases() == set()


async def test_d3_fifty_nodes_race_for_fifty_subnets(site: Site) -> None:
    await site.configure('{"Network":"10.3.0.0/24","SubnetLen":30,"SubnetMax":"10.3.0.200"}')
    stores = [site.open() for _ in range(5)]
    leases = await asyncio.gather(
        *(stores[number % 5].acquire_lease(node(number)) for number in range(50))
    )
    assert len({lease.subnets for lease in leases}) == 50
    assert sorted(await site.names()) == sorted(format_subnet_key(one.subnets) for one in leases)
    assert await site.unused_etcd_leases() == set()


async def test_two_keys_never_hold_one_subnet_of_a_family(site: Site) -> None:
    """Each key can be made once only, but a dual-stack lease has many keys with its half."""
    await site.configure(
        '{"Network":"10.3.0.0/26","SubnetLen":30,"EnableIPv6":true,'
        '"IPv6Network":"fc00::/60","IPv6SubnetLen":64}'
    )
    stores = [site.open() for _ in range(5)]
    leases = await asyncio.gather(
        *(stores[number % 5].acquire_lease(node_dual(number)) for number in range(15))
    )
    assert len({lease.subnets.ipv4 for lease in leases}) == 15
    assert len({lease.subnets.ipv6 for lease in leases}) == 15
    assert len(await site.names()) == 15
    assert await site.unused_etcd_leases() == set()


async def start_at_once(site: Site, stores: list[EtcdSubnetManager]) -> None:
    leases = await asyncio.gather(*(store.acquire_lease(node(1)) for store in stores))
    assert len({lease.subnets for lease in leases}) == 1
    assert await site.names() == [format_subnet_key(leases[0].subnets)]
    assert await site.unused_etcd_leases() == set()


@pytest.mark.parametrize("count", [2, 3, 10])
async def test_one_node_that_starts_often_at_once_gets_one_lease(site: Site, count: int) -> None:
    await site.configure(IPV4)
    await start_at_once(site, [site.open() for _ in range(count)])


class UnevenClient(FakeClient):
    """Each request takes a time of its own, there and back."""

    def __init__(self, etcd: FakeEtcd, rng: Random) -> None:
        super().__init__(etcd)
        self._rng = rng

    async def _ask(self, name: str, apply: Callable[[], T], *, is_write: bool = False) -> T:
        for _ in range(self._rng.randrange(8)):
            await asyncio.sleep(0)
        result = await super()._ask(name, apply, is_write=is_write)
        for _ in range(self._rng.randrange(8)):
            await asyncio.sleep(0)
        return result


def open_uneven(site: Site, count: int, seed: int) -> list[EtcdSubnetManager]:
    assert site.fake is not None
    rng = Random(seed)
    clients = [UnevenClient(site.fake, rng) for _ in range(count)]
    return [EtcdSubnetManager(EtcdOptions(prefix=PREFIX), client=client) for client in clients]


@pytest.mark.parametrize("count", [3, 5])
async def test_one_node_that_starts_often_within_a_moment_gets_one_lease(count: int) -> None:
    for seed in range(100):
        async with fake_site() as site:
            await site.configure(IPV4)
            await start_at_once(site, open_uneven(site, count, seed))


async def test_one_manager_that_is_asked_twice_at_once_leases_once(
    site: Site, store: EtcdSubnetManager
) -> None:
    one, two = await asyncio.gather(store.acquire_lease(node(1)), store.acquire_lease(node(1)))
    assert one.subnets == two.subnets
    renewed, adopted = await asyncio.gather(store.renew_lease(two), store.acquire_lease(node(1)))
    assert renewed.subnets == adopted.subnets == one.subnets
    assert len(await site.names()) == 1
    assert await site.unused_etcd_leases() == set()


async def test_a_lease_that_is_renewed_and_adopted_at_once_stays() -> None:
    for seed in range(200):
        async with fake_site() as site:
            await site.configure(IPV4)
            (store,) = open_uneven(site, 1, seed)
            lease = await store.acquire_lease(node(1))
            await asyncio.gather(store.renew_lease(lease), store.acquire_lease(node(1)))
            await store.aclose()
            assert await site.names() == [format_subnet_key(lease.subnets)], seed
            assert await site.unused_etcd_leases() == set(), seed


async def test_d5_a_reservation_stays_one(site: Site, store: EtcdSubnetManager) -> None:
    await site.put("10.3.50.0-24", encode_attrs(node(1)))
    changed = node(1, mac="c6:d2:32:6f:8f:45")
    lease = await store.acquire_lease(changed)
    assert lease.subnets == subnets("10.3.50.0/24")
    assert lease.expires_at is None
    entry = await site.entry("10.3.50.0-24")
    assert (entry.lease, entry.value) == (0, encode_attrs(changed))
    assert await store.renew_lease(lease) == lease
    assert await site.entry("10.3.50.0-24") == entry  # it says so already
    published = await store.renew_lease(replace(lease, attrs=node(1)))
    assert published.expires_at is None
    entry = await site.entry("10.3.50.0-24")
    assert (entry.lease, entry.value) == (0, encode_attrs(node(1)))
    assert await site.unused_etcd_leases() == set()


async def test_an_entry_of_ours_that_fits_no_more_is_replaced(
    site: Site, store: EtcdSubnetManager
) -> None:
    lease = await store.acquire_lease(node_dual(1))
    await site.configure(DUAL)
    grown = await store.acquire_lease(node_dual(1))
    assert grown.subnets.ipv4 == lease.subnets.ipv4
    assert grown.subnets.ipv6 is not None
    await site.configure('{"Network":"10.9.0.0/16"}')
    moved = await store.acquire_lease(node_dual(1))
    assert moved.subnets.ipv4 is not None
    assert Prefix.parse("10.9.0.0/16").covers(moved.subnets.ipv4)
    assert await site.names() == [format_subnet_key(moved.subnets)]
    assert await site.unused_etcd_leases() == set()


async def test_nothing_is_lost_when_no_subnet_is_left(site: Site) -> None:
    await site.configure(TINY)
    store = site.open()
    leases = [await store.acquire_lease(node(number)) for number in range(3)]
    before = await site.names()
    await site.configure(ONE_SUBNET)
    loser = next(lease for lease in leases if lease.subnets != subnets("10.3.0.4/30"))
    with pytest.raises(OutOfSubnets):
        await store.acquire_lease(loser.attrs)
    assert await site.names() == before
    assert await site.unused_etcd_leases() == set()


async def test_d10_ipv6_only_nodes_get_leases_of_their_own(site: Site) -> None:
    await site.configure(IPV6)
    store = site.open()
    leases = [await store.acquire_lease(node6(number)) for number in range(1, 4)]
    assert len({lease.subnets for lease in leases}) == 3
    assert all(name.startswith("0.0.0.0-0&fc00:") for name in await site.names())
    again = [await site.open().acquire_lease(node6(number)) for number in range(1, 4)]
    assert [lease.subnets for lease in again] == [lease.subnets for lease in leases]
    assert [(await store.renew_lease(lease)).subnets for lease in again] == [
        lease.subnets for lease in leases
    ]


async def test_a_node_without_a_public_ip_gets_none(site: Site, store: EtcdSubnetManager) -> None:
    with pytest.raises(ConfigError, match="public IP"):
        await store.acquire_lease(LeaseAttrs(ByFamily()))
    assert await site.names() == []


async def test_renewing_moves_the_expiry_and_publishes(
    site: Site, store: EtcdSubnetManager
) -> None:
    lease = await store.acquire_lease(node(1))
    changed = node(1, mac="02:00:00:00:00:01")
    renewed = await store.renew_lease(replace(lease, attrs=changed))
    assert renewed.attrs == changed
    assert renewed.expires_at is not None
    assert lease.expires_at is not None
    assert renewed.expires_at >= lease.expires_at
    assert renewed.revision > lease.revision
    # One that missed the last renewal is still ours by its public IP.
    assert (await store.renew_lease(lease)).revision > renewed.revision
    assert (await site.entry(format_subnet_key(lease.subnets))).value == encode_attrs(node(1))


async def test_d24_old_etcd_leases_are_revoked(site: Site, store: EtcdSubnetManager) -> None:
    lease = await store.acquire_lease(node(1))
    for _ in range(3):
        old = (await site.entry(format_subnet_key(lease.subnets))).lease
        lease = await store.renew_lease(lease)
        assert await site.client.lease_time(old) is None
    assert await site.unused_etcd_leases() == set()


async def test_an_etcd_lease_that_other_keys_live_by_is_left_alone(
    site: Site, store: EtcdSubnetManager
) -> None:
    lease = await store.acquire_lease(node(1))
    old = (await site.entry(format_subnet_key(lease.subnets))).lease
    await site.put("10.3.222.0-24", encode_attrs(node(2)), old)
    lease = await store.renew_lease(lease)
    assert (await site.entry("10.3.222.0-24")).lease == old
    await site.delete("10.3.222.0-24")
    await store.renew_lease(lease)
    assert await site.client.lease_time(old) is None


async def test_d8_a_lease_that_is_gone_or_anothers_is_not_renewed(
    site: Site, store: EtcdSubnetManager
) -> None:
    lease = await store.acquire_lease(node(1))
    name = format_subnet_key(lease.subnets)
    await site.delete(name)
    with pytest.raises(LeaseLost, match="deleted or has expired"):
        await store.renew_lease(lease)
    for value in (encode_attrs(node(2)), b"{", b"", b"\xff"):
        await site.put(name, value)
        entry = await site.entry(name)
        with pytest.raises(LeaseLost, match="belongs to another node"):
            await store.renew_lease(lease)
        assert await site.entry(name) == entry
    assert await site.unused_etcd_leases() == set()


async def test_d8_an_entry_of_another_node_is_not_overwritten_in_a_race(site: Site) -> None:
    await site.configure(ONE_SUBNET)
    stores = [site.open() for _ in range(2)]
    ours = await stores[0].acquire_lease(node(1))
    await site.delete(format_subnet_key(ours.subnets))
    lost, theirs = await asyncio.gather(
        stores[0].renew_lease(ours), stores[1].acquire_lease(node(2)), return_exceptions=True
    )
    assert isinstance(lost, LeaseLost)
    assert not isinstance(theirs, BaseException)
    assert (await site.entry(format_subnet_key(ours.subnets))).value == encode_attrs(node(2))


async def test_a_closed_store_says_so(store: EtcdSubnetManager) -> None:
    async with store:
        lease = await store.acquire_lease(node(1))
    await store.aclose()
    for ask in (
        store.get_network_config(),
        store.acquire_lease(node(1)),
        store.renew_lease(lease),
        store.put_network_config(IPV4),
    ):
        with pytest.raises(StoreUnavailable, match=f"^{store.name} is closed.$"):
            await ask


@pytest.mark.parametrize("ttl", [0, -1])
async def test_a_wrong_ttl_is_refused(site: Site, ttl: int) -> None:
    with pytest.raises(ConfigError) as caught:
        site.open(ttl)
    assert caught.value.key == "lease_ttl"
