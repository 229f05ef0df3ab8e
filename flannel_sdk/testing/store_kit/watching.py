"""The watch of all leases: snapshot first, every change, and what must not disturb it."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

from flannel_sdk.model import LeaseSnapshot
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.verdicts import held
from flannel_sdk.testing.store_kit.bench import DUAL, V4, V6, StoreSite, attrs, in_time, words
from flannel_sdk.testing.store_kit.harness import CanBreak, CanDamage, CanForget, CanTakeAway
from flannel_sdk.testing.store_kit.watched import Watched, knows, next_of, watching


class Watching(Conformance):
    """What others' leases are told as."""

    @requirement(
        "S130",
        "The first item is a snapshot of all leases, our own and reservations among them",
        why="What is not in it is taken for gone: an empty or a partial one removes every peer.",
    )
    async def test_snapshot_first(self, site: StoreSite) -> None:
        """Of an empty store, and of one with three leases."""
        async with site.bench() as bench:
            manager = await bench.open(1)
            async with aclosing(manager.watch_leases()) as items:
                item = await next_of(items, "the first item of an empty store")
                held(isinstance(item, LeaseSnapshot), f"the first item is a {type(item).__name__}")
                held(not getattr(item, "leases", ()), "an empty store's snapshot has leases")
            leases = [await bench.lease(node) for node in (1, 2, 3)]
            for one in (manager, await bench.open(1)):
                async with aclosing(one.watch_leases()) as items:
                    item = await next_of(items, "the first item")
                if not isinstance(item, LeaseSnapshot):
                    held(False, f"the first item is a {type(item).__name__}, not a snapshot")
                    return
                told = {lease.subnets for lease in item.leases}
                held(
                    told == {lease.subnets for lease in leases},
                    f"the first snapshot has {len(told)} of three leases",
                )

    @requirement(
        "S131",
        "A new lease is told to watches that run",
        why="A node that joins is unreachable until its peers hear of it.",
    )
    async def test_new_lease(self, site: StoreSite) -> None:
        """To two watches, of one manager and of another."""
        async with site.bench() as bench:
            manager = await bench.open(1)
            async with watching(manager) as one, watching(await bench.open(2)) as two:
                for watched in (one, two):
                    await watched.until(knows(), "the empty store")
                leases = [await bench.lease(node) for node in (3, 4)]
                for watched in (one, two):
                    await watched.until(knows(*leases), "each of two new leases")

    @requirement(
        "S139",
        "What is told while a watch begins is not lost, and an item that was told stays as it is",
        why="A node that joins between the first list and the watch would stay unreachable.",
    )
    async def test_while_it_begins(self, site: StoreSite) -> None:
        """A lease that comes ever later after the start."""
        async with site.bench() as bench:
            writer = await bench.open(1)
            for number, steps in enumerate((0, 1, 2, 3, 5, 8, 13, 21, 34), 1):
                async with watching(await bench.open(1)) as watched:
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    published = attrs(1, mac=number)
                    lease = await in_time(writer.acquire_lease(published), "acquire_lease")
                    await watched.until(
                        knows(lease), f"a lease written {steps} turns after the watch began"
                    )
                    held(watched.are_as_told(), "an item that was told has changed since")

    @requirement(
        "S132",
        "A lease that is gone is told as removed",
        why="Traffic to it would go nowhere, and its subnet be another's soon.",
    )
    async def test_removed_lease(self, site: StoreSite) -> None:
        """Deleted by an operator; another stays."""
        async with site.bench() as bench:
            gone, stays = await bench.lease(2), await bench.lease(3)
            async with watching(await bench.open(1)) as watched:
                await watched.until(knows(gone, stays), "both leases")
                await bench.able(CanTakeAway).take_away(gone)
                await watched.until(knows(stays), "that the lease is gone")

    @requirement(
        "S133",
        "A change of any attribute is told, each by itself",
        why="A peer's new MAC or type that is not told leaves its traffic to a black hole.",
    )
    async def test_changed_attributes(self, site: StoreSite) -> None:
        """Backend data and backend type."""
        async with site.bench() as bench:
            manager = await bench.open(2)
            lease = await in_time(manager.acquire_lease(attrs(2)), "acquire_lease")
            changes = {
                "backend data": attrs(2, mac=5),
                "backend type": replace(attrs(2, mac=5), backend_type="host-gw"),
            }
            async with watching(await bench.open(1)) as watched:
                await watched.until(knows(lease), "the lease")
                for what, wanted in changes.items():
                    lease = await in_time(manager.acquire_lease(wanted), "acquire_lease")
                    await watched.until(knows(lease), f"the new {what}")

    @requirement(
        "S134",
        "In dual stack a change of either family's data is told",
        why="flannel drops the change of one where the other stays as it is (D18).",
    )
    async def test_changed_family(self, site: StoreSite) -> None:
        """First one, then the other."""
        site.chooses()
        async with site.bench(DUAL) as bench:
            manager = await bench.open(2)
            before, after = attrs(2, V4, V6), attrs(2, V4, V6, mac=5)
            half = before.backend_data._replace(ipv6=after.backend_data.ipv6)
            changes = {"IPv6": replace(before, backend_data=half), "IPv4": after}
            lease = await in_time(manager.acquire_lease(before), "acquire_lease")
            async with watching(await bench.open(1)) as watched:
                await watched.until(knows(lease), "the lease")
                for family, wanted in changes.items():
                    lease = await in_time(manager.acquire_lease(wanted), "acquire_lease")
                    await watched.until(knows(lease), f"the new {family} data")

    @requirement(
        "S135",
        "An entry that is no lease hides itself alone, in a snapshot and in a delta",
        why="One bad entry takes every node's routes away in flannel (D1).",
    )
    async def test_garbage(self, site: StoreSite) -> None:
        """There before a watch, and coming during one."""
        async with site.bench() as bench:
            hand = bench.able(CanDamage)
            first = await bench.lease(1)
            async with watching(await bench.open(2)) as early:
                await early.until(knows(first), "the lease")
                await hand.put_garbage()
                await early.until(lambda w: w.malformed, "the entry, as malformed,")
                second = await bench.lease(2)
                await early.until(knows(first, second), "a lease after the bad entry")
            async with watching(await bench.open(2)) as late:
                await late.until(knows(first, second), "each lease beside a bad entry")
                held(late.malformed, "a snapshot does not tell of the bad entry")
                third = await bench.lease(3)
                await late.until(knows(first, second, third), "one more lease")

    @requirement(
        "S136",
        "A bad entry that goes is told as removed or cleared",
        why="An operator who has repaired the store sees that it is repaired.",
    )
    async def test_garbage_removed(self, site: StoreSite) -> None:
        """While a watch runs."""
        async with site.bench() as bench:
            hand = bench.able(CanDamage)
            first = await bench.lease(1)
            await hand.put_garbage()
            async with watching(await bench.open(2)) as watched:
                await watched.until(lambda w: w.malformed, "the entry, as malformed,")
                await hand.remove_garbage()
                await watched.until(lambda w: not w.malformed, "that the bad entry is gone")
                held(watched.knows(first), "the lease went with it")

    @requirement(
        "S137",
        "A watch reconnects by itself, and misses nothing",
        why="A failed-over server must not end the agent, nor leave it with what was true before.",
    )
    async def test_reconnects(self, site: StoreSite) -> None:
        """Three times; a lease comes each time."""
        async with site.bench() as bench:
            network = bench.able(CanBreak)
            leases = [await bench.lease(1)]
            async with watching(await bench.open(1)) as watched:
                await watched.until(knows(*leases), "the lease")
                for node in (2, 3, 4):
                    await network.break_connections()
                    leases.append(await bench.lease(node))
                    await watched.until(knows(*leases), "a lease after the connections were broken")

    @requirement(
        "S138",
        "After a gap all that has changed is told: by a snapshot, or as the whole difference",
        why="flannel compares no attributes then: a peer's new MAC stays unknown for a day (D7).",
    )
    async def test_gap(self, site: StoreSite) -> None:
        """One attribute changed, one lease gone, one new, one as it was."""
        async with site.bench() as bench:
            history = bench.able(CanForget)
            hand = bench.able(CanTakeAway)
            same, changed, gone = [await bench.lease(node) for node in (1, 2, 3)]
            watched = Watched()
            async with aclosing((await bench.open(1)).watch_leases()) as items:
                watched.take(await next_of(items, "the first item"))
                await history.pause_watches()
                manager = await bench.open(2)
                changed = await in_time(manager.acquire_lease(attrs(2, mac=9)), "acquire_lease")
                await hand.take_away(gone)
                fresh = await bench.lease(4)
                await history.forget_and_resume()
                wanted = {lease.subnets: lease.attrs for lease in (same, changed, fresh)}
                while watched.attrs() != wanted:
                    have = watched.attrs()
                    missing = [words(one) for one in wanted if have.get(one) != wanted[one]]
                    stale = [words(one) for one in have if one not in wanted]
                    left = f"what became of {', '.join([*missing, *stale])} after a gap"
                    item = await next_of(items, left)
                    watched.take(item)
                    held(
                        not isinstance(item, LeaseSnapshot) or watched.attrs() == wanted,
                        f"the snapshot after a gap does not tell {left}",
                    )
