"""What others may write below our prefix: each entry hides itself and nothing else."""

from contextlib import aclosing
from dataclasses import dataclass

import pytest
from flannel_sdk_etcd.manager import EtcdSubnetManager

from flannel_sdk.engine.feed import LeaseFeed
from flannel_sdk.model import encode_attrs, format_subnet_key, parse_subnet_key
from plugins.etcd.tests.nodes import IPV4, node, subnets
from plugins.etcd.tests.store.site import Site
from plugins.etcd.tests.store.test_lease_watches import delta, snapshot, soon, watching

MIB = 1 << 20
OWN_AND_PEER = [(node(number), subnets(f"10.3.{number}.0/24")) for number in (1, 2)]
"""Apart from all hostile entries."""


@dataclass(frozen=True)
class Hostile:
    """An entry; ``name`` names it in the tests' output."""

    name: str
    key: bytes
    value: bytes


GOOD = encode_attrs(node(200))
NO_LEASES = [
    Hostile("foreign key", b"notes", b"{}"),
    Hostile("foreign key with a good value", b"notes", GOOD),
    Hostile("no name at all", b"", GOOD),
    Hostile("sub-folder", b"folder/10.3.60.0-24", GOOD),
    Hostile("folder", b"10.3.60.0-24/", GOOD),
    Hostile("key not UTF-8", b"10.3.60.0-24\xff", GOOD),
    Hostile("key of one byte not UTF-8", b"\xff", GOOD),
    Hostile("key with a zero byte", b"10.3.60.0-24\0", GOOD),
    Hostile("key with a line break", b"10.3.60.0-24\n", GOOD),
    Hostile("key that is the layout", b'10.3.60.0-24\n{"PublicIP":"1.2.3.4"}', b""),
    Hostile("key of 100 KiB", b"10.3.60.0-24" * 8500, GOOD),
    Hostile("d39 unanchored at the left", b"x10.3.60.0-24", GOOD),
    Hostile("d39 dots match anything", b"10x3x60x0-24", GOOD),
    Hostile("host bits", b"10.3.60.7-24", GOOD),
    Hostile("prefix length 33", b"10.3.60.0-33", GOOD),
    Hostile("prefix length 0", b"10.3.60.0-0", GOOD),
    Hostile("number with a leading zero", b"10.3.060.0-24", GOOD),
    Hostile("address out of range", b"10.3.300.0-24", GOOD),
    Hostile("wrong second half", b"10.3.60.0-24&2001-56", GOOD),
    Hostile("IPv6 in another spelling", b"10.3.60.0-24&FC00::-64", GOOD),
    Hostile("empty value", b"10.3.60.0-24", b""),
    Hostile("no JSON", b"10.3.60.0-24", b"{"),
    Hostile("null", b"10.3.60.0-24", b"null"),
    Hostile("value not UTF-8", b"10.3.60.0-24", b"\xff\xfe"),
    Hostile("JSON and more", b"10.3.60.0-24", GOOD + b"x"),
    Hostile("public IP of another type", b"10.3.60.0-24", b'{"PublicIP":7}'),
    Hostile("public IP null", b"10.3.60.0-24", b'{"PublicIP":null}'),
    Hostile("public IP garbage", b"10.3.60.0-24", b'{"PublicIP":"1.2.3"}'),
    Hostile("public IP of 1 MiB", b"10.3.60.0-24", b'{"PublicIP":"%s"}' % (b"1" * MIB)),
    Hostile("1 MiB of brackets", b"10.3.60.0-24", b"[" * MIB),
    Hostile("1 MiB of zeros", b"10.3.60.0-24", bytes(MIB)),
    Hostile("nested", b"10.3.60.0-24", b'{"BackendData":%s%s}' % (b"[" * 99999, b"]" * 99999)),
]
LEASES_NOT_TO_BE_BELIEVED = [
    Hostile("outside of the network", b"10.4.60.0-24", GOOD),
    Hostile("the whole network", b"10.3.0.0-16", GOOD),
    Hostile("more than the network", b"10.0.0.0-8", GOOD),
    Hostile("our public IP", b"10.3.60.0-24", encode_attrs(node(1))),
    Hostile("no public IP", b"10.3.60.0-24", b"{}"),
    Hostile("loopback as public IP", b"10.3.60.0-24", b'{"PublicIP":"127.0.0.1"}'),
]
STRANGE_LEASES = [
    Hostile("d39 a /32", b"10.3.60.7-32", GOOD),
    Hostile("value of 1 MiB", b"10.3.60.0-24", GOOD[:-1] + b',"x":"%s"}' % (b"y" * MIB)),
    Hostile("value in another layout", b"10.3.60.0-24", b'{ "publicip" : "192.0.2.200" }'),
    Hostile("v0.9's form", b"10.3.60.0-24", b'{"PublicIP":"192.0.2.200"}'),
]


def each(entries: list[Hostile]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("hostile", entries, ids=lambda hostile: str(hostile.name))


@pytest.fixture
async def store(site: Site) -> EtcdSubnetManager:
    """A manager of an IPv4 network."""
    await site.configure(IPV4)
    return site.open()


@each(NO_LEASES)
async def test_d1_it_hides_itself_only(
    site: Site, store: EtcdSubnetManager, hostile: Hostile
) -> None:
    """In a delta, in a snapshot, and when a lease is acquired."""
    peer = await store.acquire_lease(*OWN_AND_PEER[1])
    async with watching(store) as items:
        await snapshot(items)
        await site.put(hostile.key, hostile.value)
        found = await delta(items)
        assert not found.changed
        (malformed,) = found.malformed
        assert malformed.key.isprintable()
        assert malformed.reason.isprintable()
        assert len(malformed.key) <= 200
        assert 0 < len(malformed.reason) <= 200
        if hostile.key == b"10.3.60.0-24":
            assert list(found.removed) == [parse_subnet_key(malformed.key)]
        else:
            assert list(found.removed) == []
        own = await store.acquire_lease(node(1), subnets("10.3.60.0/24"))
        assert [one.subnets for one in (await delta(items)).changed] == [own.subnets]
        assert (own.subnets == subnets("10.3.60.0/24")) == (hostile.key != b"10.3.60.0-24")
    async with watching(store) as items:
        first = await snapshot(items)
        assert {lease.subnets for lease in first.leases} == {own.subnets, peer.subnets}
        assert list(first.malformed) == [malformed]


@each(NO_LEASES)
async def test_d1_no_peer_is_lost(site: Site, store: EtcdSubnetManager, hostile: Hostile) -> None:
    own, peer = [await store.acquire_lease(*at) for at in OWN_AND_PEER]
    feed = LeaseFeed(await store.get_network_config(), own)
    async with watching(store) as items, aclosing(feed.updates()) as updates:
        feed.apply(await snapshot(items))
        await soon(updates)
        await site.put(hostile.key, hostile.value)
        feed.apply(await delta(items))
        assert not feed.pending
        assert [one.subnets for one in feed.peers()] == [peer.subnets]
        assert feed.status()["malformed"] == 1
        await site.delete(hostile.key)
        feed.apply(await delta(items))
        assert not feed.pending
        assert feed.status()["malformed"] == 0


@each([one for one in NO_LEASES if one.key == b"10.3.60.0-24"])
async def test_bad_then_good_then_bad_then_gone(
    site: Site, store: EtcdSubnetManager, hostile: Hostile
) -> None:
    await site.put(hostile.key, hostile.value)
    wanted = subnets("10.3.60.0/24")
    async with watching(store) as items:
        assert len((await snapshot(items)).malformed) == 1
        await site.put(hostile.key, GOOD)
        good = await delta(items)
        assert [one.subnets for one in good.changed] == [wanted]
        assert not good.removed
        await site.put(hostile.key, hostile.value)
        bad = await delta(items)
        assert (list(bad.removed), len(bad.malformed)) == ([wanted], 1)
        await site.delete(hostile.key)
        gone = await delta(items)
        assert (list(gone.removed), list(gone.malformed)) == ([wanted], [])


@each([one for one in NO_LEASES if one.key != b"10.3.60.0-24"])
async def test_the_end_of_a_foreign_key_is_the_end_of_no_lease(
    site: Site, store: EtcdSubnetManager, hostile: Hostile
) -> None:
    await site.put(hostile.key, hostile.value)
    async with watching(store) as items:
        (malformed,) = (await snapshot(items)).malformed
        await site.delete(hostile.key)
        lease = await store.acquire_lease(node(1))
        found = await delta(items)
        if not found.changed:  # a batch of its own
            assert (list(found.removed), list(found.malformed)) == ([], [])
            assert list(found.cleared) == [malformed.key]
            found = await delta(items)
        assert [one.subnets for one in found.changed] == [lease.subnets]


@each(LEASES_NOT_TO_BE_BELIEVED)
async def test_a_lie_is_refused_and_costs_nobody_a_peer(
    site: Site, store: EtcdSubnetManager, hostile: Hostile
) -> None:
    own, peer = [await store.acquire_lease(*at) for at in OWN_AND_PEER]
    feed = LeaseFeed(await store.get_network_config(), own)
    async with watching(store) as items, aclosing(feed.updates()) as updates:
        feed.apply(await snapshot(items))
        await soon(updates)
        await site.put(hostile.key, hostile.value)
        feed.apply(await delta(items))
        assert not feed.pending
        assert [one.subnets for one in feed.peers()] == [peer.subnets]
        assert feed.status()["refused"]
    fresh = LeaseFeed(await store.get_network_config(), own)
    async with watching(store) as items:
        fresh.apply(await snapshot(items))
    assert [one.subnets for one in fresh.peers()] == [peer.subnets]


async def test_d39_overlapping_entries_hold_what_they_say(
    site: Site, store: EtcdSubnetManager
) -> None:
    """Of the pool only what is free is leased, whatever the lengths of what is taken."""
    await site.configure('{"Network":"10.3.0.0/24","SubnetLen":26}')  # 64, 128 and 192
    await site.put("10.3.0.70-32", GOOD)
    await site.put("10.3.0.128-27", "not a lease")
    assert (await store.acquire_lease(node(1))).subnets == subnets("10.3.0.192/26")


async def test_the_whole_network_as_an_entry_holds_nothing(
    site: Site, store: EtcdSubnetManager
) -> None:
    for name in ("10.3.0.0-16", "10.0.0.0-8"):
        await site.put(name, GOOD)
    lease = await store.acquire_lease(node(1))
    assert lease.subnets.ipv4 is not None
    assert (await store.renew_lease(lease)).subnets == lease.subnets


@each(STRANGE_LEASES)
async def test_a_strange_lease_is_one(
    site: Site, store: EtcdSubnetManager, hostile: Hostile
) -> None:
    async with watching(store) as items:
        await snapshot(items)
        await site.put(hostile.key, hostile.value)
        found = await delta(items)
        assert [format_subnet_key(one.subnets) for one in found.changed] == [hostile.key.decode()]
    async with watching(store) as items:
        first = await snapshot(items)
        assert (len(first.leases), len(first.malformed)) == (1, 0)
