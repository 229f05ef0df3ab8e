"""Watching leases: what differs is told once, in batches, of either family; our own is judged."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest
from flannel_sdk_kube.manager import KubeSubnetManager

from flannel_sdk.engine.feed import LeaseFeed
from flannel_sdk.model import (
    Family,
    IPAddress,
    Lease,
    LeaseDelta,
    LeaseGone,
    LeaseHeld,
    LeaseSnapshot,
    NetworkConfig,
    Subnets,
)
from flannel_sdk.testing.waiting import eventually
from plugins.kube.tests.store.site import (
    DUAL,
    IPV4,
    STEM,
    FakeSite,
    Site,
    data,
    subnets,
    vxlan,
    vxlan_dual,
    written,
)

Watch = AsyncGenerator[LeaseSnapshot | LeaseDelta, None]


async def next_delta(watch: Watch) -> LeaseDelta:
    item = await asyncio.wait_for(anext(watch), 20)
    assert isinstance(item, LeaseDelta)
    return item


async def snapshot(watch: Watch) -> LeaseSnapshot:
    item = await asyncio.wait_for(anext(watch), 20)
    assert isinstance(item, LeaseSnapshot)
    return item


def held(leases: list[Lease] | LeaseSnapshot) -> set[Subnets]:
    found = leases.leases if isinstance(leases, LeaseSnapshot) else leases
    return {lease.subnets for lease in found}


async def test_a_snapshot_then_what_changes(site: Site) -> None:
    await site.add("own", "10.3.1.0/24")
    await site.add("a", "10.3.2.0/24", annotations=written("192.168.0.2"))
    await site.add("none", "10.3.3.0/24")
    store = site.open()
    own = await store.acquire_lease(vxlan())
    async with aclosing(store.watch_leases()) as watch:
        first = await snapshot(watch)
        assert held(first) == {own.subnets, subnets("10.3.2.0/24")}
        assert first.malformed == []
        assert first.received_at > 0
        (of_a,) = [lease for lease in first.leases if lease.subnets != own.subnets]
        assert of_a.attrs == vxlan(2, "12:c6:65:89:b4:e3")
        assert of_a.expires_at is None

        await site.add("b", "10.3.4.0/24", annotations=written("192.168.0.4"))
        delta = await next_delta(watch)
        assert (held(list(delta.changed)), delta.removed) == ({subnets("10.3.4.0/24")}, [])
        await site.heartbeat("b")
        await site.annotate("b", {f"{STEM}public-ip": "192.168.0.5", "example.com/x": "1"})
        delta = await next_delta(watch)
        assert [lease.attrs.public_ips for lease in delta.changed] == [vxlan(5).public_ips]
        await site.delete("b")
        assert (await next_delta(watch)).removed == [subnets("10.3.4.0/24")]


async def test_d18_a_node_that_is_managed_no_more_is_removed(site: Site) -> None:
    await site.add("a", "10.3.2.0/24", annotations=written())
    async with aclosing(site.open().watch_leases()) as watch:
        assert held(await snapshot(watch)) == {subnets("10.3.2.0/24")}
        await site.annotate("a", {f"{STEM}kube-subnet-manager": None})
        delta = await next_delta(watch)
        assert (delta.removed, delta.malformed) == ([subnets("10.3.2.0/24")], [])
        await site.annotate("a", {f"{STEM}kube-subnet-manager": "True"})
        await site.annotate("a", {f"{STEM}kube-subnet-manager": "true"})
        assert held(list((await next_delta(watch)).changed)) == {subnets("10.3.2.0/24")}


@pytest.mark.parametrize(
    "change",
    [
        {"backend-data": data("02:00:00:00:00:01")},
        {"backend-v6-data": data("02:00:00:00:00:02")},
        {"public-ip": "192.168.0.99"},
        {"public-ipv6": "fd00::99"},
        {"backend-type": "host-gw"},
    ],
)
async def test_d18_a_change_of_one_family_alone_is_told(site: Site, change: dict[str, str]) -> None:
    site.path.write_text(DUAL)
    more = {"backend_v6_data": data("c6:d2:32:6f:8f:66"), "public_ipv6": "fd00::9"}
    await site.add("a", "10.3.2.0/24", "fc00:0:0:2::/64", annotations=written(**more))
    async with aclosing(site.open().watch_leases()) as watch:
        before = (await snapshot(watch)).leases[0]
        await site.annotate("a", {STEM + name: text for name, text in change.items()})
        (after,) = (await next_delta(watch)).changed
        assert after.subnets == before.subnets == subnets("10.3.2.0/24 fc00:0:0:2::/64")
        assert after.attrs != before.attrs


async def test_d18_a_changed_pod_cidr_is_told(site: Site) -> None:
    await site.add("a", "10.3.2.0/24", annotations=written())
    async with aclosing(site.open().watch_leases()) as watch:
        await snapshot(watch)
        await site.delete("a")
        await site.add("a", "10.3.5.0/24", annotations=written())
        gone: set[Subnets] = set()
        come: set[Subnets] = set()
        while not (gone and come):
            delta = await next_delta(watch)
            gone |= set(delta.removed)
            come |= held(list(delta.changed))
        assert (gone, come) == ({subnets("10.3.2.0/24")}, {subnets("10.3.5.0/24")})


async def test_a_node_made_again_with_the_same_pod_cidr_stays(fake: FakeSite) -> None:
    """A delta that names one lease as changed and as removed would be the end of it."""
    await fake.add("a", "10.3.2.0/24", annotations=written())
    async with aclosing(fake.open().watch_leases()) as watch:
        await snapshot(watch)
        await fake.delete("a")
        await fake.add("a", "10.3.2.0/24", annotations=written("192.168.0.44"))
        delta = await next_delta(watch)
        assert (held(list(delta.changed)), delta.removed) == ({subnets("10.3.2.0/24")}, [])


async def test_d19_data_of_any_layout_and_prefix_is_read(site: Site) -> None:
    texts = written(backend_data='{ "VtepMAC" : "aa:bb:cc:00:11:22",\n "VNI":7 }')
    for prefix, stem in (("org.com/net", "org.com/net-"), ("org.com", "org.com/")):
        name = f"n-{stem[-1] == '-'}".lower()
        annotations = {key.replace(STEM, stem): text for key, text in texts.items()}
        await site.add(name, "10.3.2.0/24", annotations=annotations)
        store = site.open(annotation_prefix=prefix)
        async with aclosing(store.watch_leases()) as watch:
            (lease,) = (await snapshot(watch)).leases
        assert lease.attrs.backend_data.ipv4 == '{"VtepMAC":"aa:bb:cc:00:11:22","VNI":7}'


async def test_d20_a_slow_reader_gets_all_in_order(fake: FakeSite) -> None:
    """No queue that overflows: more nodes than flannel's holds before anybody reads."""
    for number in range(6000):
        cidr = f"10.{number >> 8}.{number & 255}.0/24"
        await fake.add(f"n{number}", cidr, annotations=written())
    async with aclosing(fake.open().watch_leases()) as watch:
        assert len((await snapshot(watch)).leases) == 6000
        for round_number in range(20):
            await fake.delete("n7")
            await fake.add("n7", "10.0.7.0/24", annotations=written(f"192.168.1.{round_number}"))
        await fake.delete("n8")
        delta = await next_delta(watch)
        assert delta.removed == [subnets("10.0.8.0/24")]
        (lease,) = delta.changed
        assert str(lease.attrs.public_ips.ipv4) == "192.168.1.19"


async def test_d22_many_changes_are_one_item(fake: FakeSite) -> None:
    async with aclosing(fake.open().watch_leases()) as watch:
        assert (await snapshot(watch)).leases == []
        for number in range(1000):
            cidr = f"10.{number >> 8}.{number & 255}.0/24"
            await fake.add(f"n{number}", cidr, annotations=written())
        assert len((await next_delta(watch)).changed) == 1000


@pytest.mark.parametrize("which", ["leases", "lease", "config"])
async def test_d37_closing_ends_a_watch_and_tells_nothing(site: Site, which: str) -> None:
    await site.add("own", "10.3.1.0/24")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    watch: AsyncGenerator[object, None] = {
        "leases": store.watch_leases,
        "lease": lambda: store.watch_lease(lease),
        "config": store.watch_network_config,
    }[which]()
    async with aclosing(watch):
        assert await asyncio.wait_for(anext(watch), 20)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await store.aclose()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 5)


async def test_d37_a_cancelled_watch_tells_nothing(fake: FakeSite) -> None:
    async with aclosing(fake.open().watch_leases()) as watch:
        await snapshot(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await eventually(lambda: fake.cluster.watches == 1, "waiting")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert fake.cluster.watches == 0


async def test_d40_ipv6_addresses_are_written_as_such(site: Site) -> None:
    site.path.write_text(DUAL)
    await site.add("own", "10.3.7.0/24", "fc00:0:0:7::/64")
    attrs = vxlan_dual()
    low = attrs.public_ips.with_value(Family.IPV6, IPAddress.parse("::1.2.3.4"))
    store = site.open()
    lease = await store.acquire_lease(replace(attrs, public_ips=low))
    async with aclosing(store.watch_leases()) as watch:
        (found,) = (await snapshot(watch)).leases
    assert str(found.attrs.public_ips.ipv6) == "::102:304"
    assert found == lease


async def test_families_that_the_network_does_not_have_are_not_told(site: Site) -> None:
    """Our own lease has to be known as ours: by the subnets that were acquired."""
    await site.add("own", "10.3.1.0/24", "fc00:0:0:1::/64")
    more = {"public_ipv6": "not an address", "backend_v6_data": "{"}
    await site.add("a", "10.3.2.0/24", "fc00:0:0:2::/64", annotations=written(**more))
    store = site.open()
    own = await store.acquire_lease(vxlan())
    site.path.write_text(DUAL)  # which is not applied before a restart
    async with aclosing(store.watch_leases()) as watch:
        first = await snapshot(watch)
    assert held(first) == {own.subnets, subnets("10.3.2.0/24")}
    assert first.malformed == []


async def test_leases_are_told_without_a_configuration(site: Site) -> None:
    site.path.unlink()
    await site.add("a", "10.3.2.0/24", "fc00:0:0:2::/64", annotations=written())
    async with aclosing(site.open(node_name=None).watch_leases()) as watch:
        assert held(await snapshot(watch)) == {subnets("10.3.2.0/24 fc00:0:0:2::/64")}


# -- our own lease -------------------------------------------------------------------


async def _states(store: KubeSubnetManager, lease: Lease) -> list[LeaseHeld | LeaseGone]:
    async with aclosing(store.watch_lease(lease)) as watch:
        return [await asyncio.wait_for(anext(watch), 20)]


async def test_our_lease_is_watched(site: Site) -> None:
    await site.add("own", "10.3.1.0/24")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    async with aclosing(store.watch_lease(lease)) as watch:
        assert await asyncio.wait_for(anext(watch), 20) == LeaseHeld(lease)
        await site.heartbeat("own")
        await site.annotate("own", {f"{STEM}public-ip": "192.168.0.66"})
        state = await asyncio.wait_for(anext(watch), 20)
        assert isinstance(state, LeaseHeld)
        assert state.lease.attrs == vxlan(66)
        assert state.lease.revision > lease.revision
        renewed = await store.renew_lease(lease)
        assert await asyncio.wait_for(anext(watch), 20) == LeaseHeld(renewed)
        await site.delete("own")
        state = await asyncio.wait_for(anext(watch), 20)
        assert state == LeaseGone("The node own was deleted.")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (dict.fromkeys(written()), "does not say what it has to: .*public-ip"),
        ({f"{STEM}kube-subnet-manager": None}, "kube-subnet-manager"),
        ({f"{STEM}public-ip": "garbage"}, "cannot be read.*public-ip is no IPv4 address"),
        ({f"{STEM}public-ip-overwrite": "203.0.113.5"}, "does not say what it has to: .*public-ip"),
    ],
)
async def test_what_makes_our_entry_no_lease_ends_it(
    site: Site, change: dict[str, str | None], reason: str
) -> None:
    await site.add("own", "10.3.1.0/24")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    await site.annotate("own", change)
    (state,) = await _states(store, lease)
    assert isinstance(state, LeaseGone)
    assert re.search(reason, state.reason)
    again = await store.acquire_lease(vxlan())
    assert await _states(store, lease) == [LeaseHeld(again)]


async def test_an_overwritten_public_ip_is_no_difference(site: Site) -> None:
    texts = {f"{STEM}public-ip-overwrite": "203.0.113.5"}
    await site.add("own", "10.3.1.0/24", annotations=texts)
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    assert await _states(store, lease) == [LeaseHeld(lease)]


async def test_our_node_made_again_with_another_pod_cidr_is_told(site: Site) -> None:
    await site.add("own", "10.3.1.0/24")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    await site.delete("own")
    await site.add("own", "10.3.2.0/24", annotations=written("192.168.0.1"))
    (state,) = await _states(store, lease)
    assert state == LeaseGone(
        "The node own was made again: its pod CIDR is 10.3.2.0/24 and not 10.3.1.0/24."
    )


async def test_the_same_end_is_told_once(fake: FakeSite) -> None:
    await fake.add("own", "10.3.1.0/24")
    store = fake.open()
    lease = await store.acquire_lease(vxlan())
    await fake.annotate("own", {f"{STEM}kube-subnet-manager": "no"})
    async with aclosing(store.watch_lease(lease)) as watch:
        assert isinstance(await anext(watch), LeaseGone)
        waiting = asyncio.ensure_future(anext(watch))
        await fake.annotate("own", {f"{STEM}other": "1"})
        told, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not told
        await fake.annotate("own", {f"{STEM}kube-subnet-manager": "true"})
        assert isinstance(await waiting, LeaseHeld)


async def test_a_restored_api_server_counts_from_an_older_revision(fake: FakeSite) -> None:
    """Whoever compares revisions would take all that it says for old."""
    await fake.add("own", "10.3.1.0/24")
    store = fake.open()
    lease = await store.acquire_lease(vxlan())
    async with aclosing(store.watch_lease(lease)) as watch:
        assert await anext(watch) == LeaseHeld(lease)
        fake.cluster.revision = 5
        await fake.annotate("own", {f"{STEM}public-ip": "192.168.0.66"})
        state = await anext(watch)
    assert isinstance(state, LeaseHeld)
    assert state.lease.revision > lease.revision


async def test_the_feed_forgets_a_malformed_node_that_healed(fake: FakeSite) -> None:
    await fake.add("own", "10.3.1.0/24")
    await fake.add("bad", "10.3.2.0/24", annotations=written("garbage"))
    store = fake.open()
    own = await store.acquire_lease(vxlan())
    feed = LeaseFeed(NetworkConfig.parse(IPV4), own)
    async with aclosing(store.watch_leases()) as watch:
        feed.apply(await anext(watch))
        assert (feed.status()["malformed"], feed.status()["peers"]) == (1, 0)
        await fake.annotate("bad", {f"{STEM}public-ip": "192.168.0.2"})
        feed.apply(await anext(watch))
        assert (feed.status()["malformed"], feed.status()["peers"]) == (0, 1)
        await fake.annotate("bad", {f"{STEM}public-ip": "garbage"})
        feed.apply(await anext(watch))
        assert (feed.status()["malformed"], feed.status()["peers"]) == (1, 0)
        await fake.delete("bad")
        feed.apply(await anext(watch))
        assert (feed.status()["malformed"], feed.status()["peers"]) == (0, 0)


async def test_a_second_watch_that_ends_leaves_the_first_ones_names(site: Site) -> None:
    await site.add("own", "10.3.1.0/24")
    store = site.open()
    async with aclosing(store.watch_leases()) as watch:
        await snapshot(watch)
        async with aclosing(store.watch_leases()) as second:
            await snapshot(second)
        await site.add("a", "10.3.2.0/24", annotations=written("192.168.0.2"))
        (lease,) = (await next_delta(watch)).changed
        assert store.holder_name(lease.subnets) == "node a"
