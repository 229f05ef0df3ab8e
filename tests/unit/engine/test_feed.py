"""The peer feed: level-triggered, coalescing, diffs over all fields, refusals that harm nobody."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.engine.feed import LeaseFeed
from flannel_sdk.model import (
    ByFamily,
    Family,
    IPAddress,
    Lease,
    LeaseAttrs,
    LeaseDelta,
    LeaseSnapshot,
    Malformed,
    NetworkConfig,
    PeerUpdate,
    Prefix,
    Subnets,
)
from flannel_sdk.model.peer_checks import PeerChecks

CONFIG = NetworkConfig.parse(
    '{"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fc00::/48",'
    ' "Backend": {"Type": "vxlan"}}'
)


def subnets(number: int) -> Subnets:
    return ByFamily(Prefix.parse(f"10.5.{number}.0/24"), Prefix.parse(f"fc00:0:0:{number:x}::/64"))


def lease(
    number: int, *, data: str = "{}", ip: str | None = None, revision: int = 0, expires: float = 9e9
) -> Lease:
    public = ByFamily(
        IPAddress.parse(ip or f"192.0.2.{number}"), IPAddress.parse(f"2001:db8::{number:x}")
    )
    attrs = LeaseAttrs(public, "vxlan", ByFamily(data, data))
    return Lease(subnets(number), attrs, expires, revision)


OWN = lease(200)


async def following(updates: AsyncGenerator[PeerUpdate, None]) -> PeerUpdate:
    async with asyncio.timeout(2):
        return await anext(updates)


async def nothing_follows(updates: AsyncGenerator[PeerUpdate, None]) -> None:
    """True at once where the generator would wait: all that wakes it has happened before."""
    pending = asyncio.ensure_future(anext(updates))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not pending.done()
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending


async def test_nothing_is_told_before_the_first_snapshot_which_is_full() -> None:
    feed = LeaseFeed(CONFIG, OWN)
    async with aclosing(feed.updates()) as updates:
        waiting = asyncio.ensure_future(anext(updates))
        await asyncio.sleep(0)
        assert waiting in asyncio.all_tasks()
        feed.apply(LeaseSnapshot([OWN, lease(1)]))
        assert await waiting == PeerUpdate(True, (lease(1),))


async def test_an_empty_snapshot_is_a_full_update_of_nobody_and_an_empty_delta_is_nothing() -> None:
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(LeaseSnapshot([lease(1)]))
    async with aclosing(feed.updates()) as updates:
        assert (await following(updates)).full
        feed.apply(LeaseDelta())
        feed.apply(LeaseSnapshot([]))
        assert await following(updates) == PeerUpdate(False, (), (subnets(1),))
    with pytest.raises(ValueError, match="before its first snapshot"):
        LeaseFeed(CONFIG, OWN).apply(LeaseDelta([lease(1)]))


async def test_changes_between_two_reads_are_one_update() -> None:
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(LeaseSnapshot([lease(1), lease(2)]))
    async with aclosing(feed.updates()) as updates:
        await following(updates)
        for generation in range(100):
            feed.apply(LeaseDelta([lease(1, data=f"{generation}")]))
        feed.apply(LeaseDelta(removed=[subnets(2)]))
        feed.apply(LeaseDelta([lease(3)]))
        feed.apply(LeaseDelta(removed=[subnets(3)]))
        update = await following(updates)
        assert update.changed == (lease(1, data="99"),)
        assert set(update.removed) == {subnets(2), subnets(3)}


async def test_d41_a_renewal_tells_nothing() -> None:
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(LeaseSnapshot([lease(1)]))
    async with aclosing(feed.updates()) as updates:
        await following(updates)
        feed.apply(LeaseDelta([lease(1, revision=7, expires=9.5e9)]))
        feed.apply(LeaseSnapshot([lease(1, revision=8)]))
        await nothing_follows(updates)


@pytest.mark.parametrize(
    "changed", [lease(1, data='{"VNI":2}'), lease(1, ip="198.51.100.1")], ids=["data", "public ip"]
)
async def test_d7_a_snapshot_tells_every_changed_field(changed: Lease) -> None:
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(LeaseSnapshot([lease(1), lease(2)]))
    async with aclosing(feed.updates()) as updates:
        await following(updates)
        feed.apply(LeaseSnapshot([changed, lease(2)]))
        assert await following(updates) == PeerUpdate(False, (changed,))


@pytest.mark.parametrize("family", list(Family))
async def test_d18_a_change_of_one_family_is_told_once(family: Family) -> None:
    before = lease(1)
    data = before.attrs.backend_data.with_value(family, '{"VNI":9}')
    changed = replace(before, attrs=replace(before.attrs, backend_data=data))
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(LeaseSnapshot([before]))
    async with aclosing(feed.updates()) as updates:
        await following(updates)
        feed.apply(LeaseDelta([changed]))
        assert await following(updates) == PeerUpdate(False, (changed,))
        await nothing_follows(updates)


async def test_d6_our_own_lease_is_never_told_nor_removed() -> None:
    feed = LeaseFeed(CONFIG, OWN)
    async with aclosing(feed.updates()) as updates:
        for leases in ([OWN, lease(1)], [lease(1)], [OWN, lease(1)]):
            feed.apply(LeaseSnapshot(leases))
        assert await following(updates) == PeerUpdate(True, (lease(1),))
        feed.apply(LeaseDelta([OWN], [OWN.subnets]))
        await nothing_follows(updates)


def settled(feed: LeaseFeed) -> bool:
    return feed.settled


async def test_settled_means_that_the_last_update_was_followed_by_a_question() -> None:
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(LeaseSnapshot([lease(1)]))
    assert not settled(feed)
    async with aclosing(feed.updates()) as updates:
        await following(updates)
        assert not settled(feed)
        await nothing_follows(updates)
    async with aclosing(feed.updates()) as updates:
        await following(updates)
        waiting = asyncio.ensure_future(anext(updates))
        await asyncio.sleep(0)
        assert settled(feed)
        feed.apply(LeaseDelta([lease(2)]))
        assert not settled(feed)
        await waiting


async def test_a_second_reader_gets_the_full_set_of_its_own() -> None:
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(LeaseSnapshot([lease(1)]))
    async with aclosing(feed.updates()) as first, aclosing(feed.updates()) as second:
        assert (await following(first)).full
        feed.apply(LeaseDelta([lease(2)]))
        assert await following(second) == PeerUpdate(True, (lease(1), lease(2)))
        assert await following(first) == PeerUpdate(False, (lease(2),))


HOSTILE = {
    "outside the network": Lease(ByFamily(Prefix.parse("10.6.1.0/24")), lease(1).attrs),
    "loopback": lease(9, ip="127.0.0.1"),
    "multicast": lease(9, ip="224.0.0.1"),
    "our own public IP": lease(9, ip="192.0.2.200"),
    "unspecified": lease(9, ip="0.0.0.0"),
    "overlaps ours": Lease(ByFamily(Prefix.parse("10.5.200.0/25")), lease(9).attrs),
    "covers a peer": Lease(ByFamily(Prefix.parse("10.5.0.0/22")), lease(9).attrs, revision=99),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_lease_is_refused_counted_logged_once_and_harms_nobody(
    hostile: Lease, caplog: pytest.LogCaptureFixture
) -> None:
    feed = LeaseFeed(CONFIG, OWN)
    with caplog.at_level(logging.WARNING):
        feed.apply(LeaseSnapshot([lease(1), hostile, lease(2), OWN]))
        feed.apply(LeaseDelta([hostile]))
        feed.apply(LeaseSnapshot([hostile, lease(1), lease(2), OWN]))
    assert set(feed.peers()) == {lease(1), lease(2)}
    refused = feed.status()["refused"]
    assert isinstance(refused, dict)
    assert sum(refused.values()) == 1
    assert len(caplog.records) == 1
    feed.apply(LeaseDelta(removed=[hostile.subnets]))
    assert feed.status()["refused"] == {}
    assert set(feed.peers()) == {lease(1), lease(2)}


async def test_an_overlapping_lease_is_accepted_when_the_other_goes_and_told() -> None:
    wide = Lease(ByFamily(Prefix.parse("10.5.0.0/22")), lease(9).attrs, revision=99)
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(LeaseSnapshot([lease(1), wide]))
    async with aclosing(feed.updates()) as updates:
        await following(updates)
        feed.apply(LeaseDelta(removed=[subnets(1)]))
        update = await following(updates)
        assert update.removed == (subnets(1),)
        assert update.changed == (wide,)


async def test_a_wide_lease_displaces_no_regular_one_however_old_it_is() -> None:
    wide = Lease(ByFamily(Prefix.parse("10.5.0.0/22")), lease(9).attrs, revision=1)
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(LeaseSnapshot([wide]))
    assert feed.peers() == (wide,)
    feed.apply(LeaseDelta([lease(1, revision=7)]))
    assert feed.peers() == (lease(1, revision=7),)


async def test_one_subnet_under_two_keys_goes_to_one_of_them() -> None:
    twin = Lease(ByFamily(subnets(1).ipv4), lease(9).attrs, revision=99)
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(LeaseSnapshot([twin, lease(1, revision=1)]))
    assert feed.peers() == (lease(1, revision=1),)


def test_a_refused_entry_does_not_make_every_later_change_a_judgement_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    feed = LeaseFeed(CONFIG, OWN)
    bad = lease(9, ip="127.0.0.1")
    feed.apply(LeaseSnapshot([lease(1), lease(2), bad]))
    judged: list[object] = []
    problem = PeerChecks.problem

    def counting(checks: PeerChecks, found: Lease) -> str | None:
        judged.append(found)
        return problem(checks, found)

    monkeypatch.setattr(PeerChecks, "problem", counting)
    feed.apply(LeaseDelta([lease(1, data="2")]))
    feed.apply(LeaseDelta([lease(2, ip="224.0.0.1")]))
    assert len(judged) == 2
    assert feed.peers() == (lease(1, data="2"),)
    assert feed.status()["refused"] == {
        "its public IP 127.0.0.1 is no unicast address of a host": 1,
        "its public IP 224.0.0.1 is no unicast address of a host": 1,
    }
    feed.apply(LeaseDelta([lease(2), lease(9)]))
    assert feed.status()["refused"] == {}
    feed.apply(LeaseDelta([bad], [subnets(2)]))
    feed.apply(LeaseDelta(removed=[subnets(9)]))
    assert (feed.status()["refused"], len(feed.peers())) == ({}, 1)


def test_our_own_subnet_is_nobody_elses_also_when_our_entry_was_deleted() -> None:
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(LeaseSnapshot([OWN, lease(1)]))
    feed.apply(LeaseDelta(removed=[OWN.subnets]))
    thief = replace(lease(2), subnets=OWN.subnets._replace(ipv6=None))
    feed.apply(LeaseDelta([thief]))
    assert feed.peers() == (lease(1),)


def test_malformed_entries_are_counted_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    feed = LeaseFeed(CONFIG, OWN)
    entry = Malformed("10.5.9.0-24", "no JSON")
    feed.apply(LeaseSnapshot([lease(1)], malformed=[entry]))
    feed.apply(LeaseDelta(malformed=[entry]))
    assert feed.status()["malformed"] == 1
    assert len(caplog.records) == 1
    assert feed.peers() == (lease(1),)
    feed.apply(LeaseDelta(removed=[subnets(9)._replace(ipv6=None)]))
    assert feed.status()["malformed"] == 0


def test_a_foreign_key_is_counted_until_it_is_gone() -> None:
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(LeaseSnapshot([lease(1)]))
    for number in range(3):
        feed.apply(LeaseDelta(malformed=[Malformed(f"lock-{number}", "no key of a lease")]))
    assert feed.status()["malformed"] == 3
    feed.apply(LeaseDelta(cleared=["lock-0", "lock-1", "never-seen"]))
    assert feed.status()["malformed"] == 1


def test_malformed_entries_of_another_name_than_their_subnets_are_forgotten_when_they_heal() -> (
    None
):
    feed = LeaseFeed(CONFIG, OWN)
    bad = [Malformed("node-a", "is broken"), Malformed("node-b", "is broken")]
    feed.apply(LeaseSnapshot([], malformed=bad))
    feed.apply(LeaseDelta([lease(1)], cleared=["node-a"]))
    assert feed.status()["malformed"] == 1
    feed.apply(LeaseDelta(cleared=["node-b", "node-c"]))
    assert feed.status()["malformed"] == 0


NUMBERS = st.integers(1, 6)
LEASES = st.builds(
    lease, NUMBERS, data=st.sampled_from(["1", "2"]), revision=st.integers(0, 3)
) | st.sampled_from(list(HOSTILE.values()))
SNAPSHOTS = st.lists(LEASES, max_size=8, unique_by=lambda found: found.subnets).map(LeaseSnapshot)
DELTAS = st.builds(LeaseDelta, st.lists(LEASES, max_size=3), st.lists(NUMBERS.map(subnets)))


def fresh(snapshot: LeaseSnapshot) -> set[Subnets]:
    feed = LeaseFeed(CONFIG, OWN)
    feed.apply(snapshot)
    return {peer.subnets for peer in feed.peers()}


@given(st.lists(SNAPSHOTS | DELTAS, max_size=8), SNAPSHOTS, st.data())
def test_any_history_followed_by_a_snapshot_ends_as_the_snapshot_alone(
    history: list[LeaseSnapshot | LeaseDelta], last: LeaseSnapshot, data: st.DataObject
) -> None:
    """And a reader that applied every update it read holds just what the feed holds."""

    async def scenario() -> None:
        feed = LeaseFeed(CONFIG, OWN)
        feed.apply(LeaseSnapshot([]))
        held: dict[Subnets, Lease] = {}
        async with aclosing(feed.updates()) as updates:

            async def read() -> None:
                update = await following(updates)
                if update.full:
                    held.clear()
                for gone in update.removed:
                    held.pop(gone, None)
                held.update((peer.subnets, peer) for peer in update.changed)

            await read()
            for item in [*history, last]:
                feed.apply(item)
                if data.draw(st.booleans()) and not feed.settled and feed.pending:
                    await read()
            if feed.pending:
                await read()
        assert {key: peer.attrs for key, peer in held.items()} == {
            peer.subnets: peer.attrs for peer in feed.peers()
        }
        attrs = {found.subnets: found.attrs for found in last.leases}
        assert all(peer.attrs == attrs[peer.subnets] for peer in feed.peers())
        assert {peer.subnets for peer in feed.peers()} == fresh(last)

    asyncio.run(scenario())
