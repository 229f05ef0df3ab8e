"""Renewing, losing and expiring leases; the watch of one's own."""

from contextlib import aclosing
from dataclasses import replace

from flannel_sdk.errors import LeaseLost
from flannel_sdk.interfaces import SubnetManager
from flannel_sdk.model import Lease, LeaseGone, LeaseHeld, LeaseState
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.verdicts import held
from flannel_sdk.testing.store_kit.bench import (
    Bench,
    StoreSite,
    attrs,
    in_time,
    refused,
    words,
)
from flannel_sdk.testing.store_kit.harness import CanBreak, CanExpire, CanGiveAway, CanTakeAway
from flannel_sdk.testing.store_kit.watched import knows, next_of, watching

SHORT = 1.0
"""Seconds that a short lease lasts: etcd has no shorter ones."""


class Renewing(Conformance):
    """What becomes of a lease that is held."""

    @requirement(
        "S120",
        "A renewal keeps the subnets, ends no earlier, and publishes what the lease says",
        why="The agent renews for as long as it lives; a new MAC travels with it.",
    )
    async def test_renew(self, site: StoreSite) -> None:
        """Once unchanged, once with another MAC."""
        async with site.bench() as bench:
            manager = await bench.open()
            lease = await in_time(manager.acquire_lease(attrs(1)), "acquire_lease")
            for wanted in (lease.attrs, attrs(1, mac=9)):
                renewed = await in_time(
                    manager.renew_lease(replace(lease, attrs=wanted)), "renew_lease"
                )
                held(renewed.subnets == lease.subnets, f"it holds {words(renewed.subnets)} now")
                held(renewed.attrs == wanted, f"it publishes {renewed.attrs}, not {wanted}")
                held(_no_earlier(renewed, lease), "it ends earlier than before")
                lease = renewed
                async with watching(await bench.open(2)) as watched:
                    await watched.until(knows(renewed), "the renewed lease")

    @requirement(
        "S121",
        "A renewal of a lease that was deleted is LeaseLost, and writes nothing",
        why="flannel writes it again, over whoever has the subnet by then (D8).",
    )
    async def test_renew_deleted(self, site: StoreSite) -> None:
        """By an operator."""
        async with site.bench() as bench:
            manager, lease = await _held(bench)
            other = await bench.lease(2)
            await bench.able(CanTakeAway).take_away(lease)
            await refused(manager.renew_lease(lease), LeaseLost, "renew_lease of a deleted lease")
            async with watching(await bench.open(2)) as watched:
                await watched.until(knows(other), "that the lease is gone")

    @requirement(
        "S122",
        "A renewal of a lease that is another node's by now is LeaseLost, and leaves it alone",
        why="A node that slept for too long must not take a subnet from its new holder (D8).",
    )
    async def test_renew_overwritten(self, site: StoreSite) -> None:
        """Overwritten with another node's attributes."""
        async with site.bench() as bench:
            manager, lease = await _held(bench)
            await bench.able(CanGiveAway).give_away(lease, attrs(7))
            await refused(manager.renew_lease(lease), LeaseLost, "renew_lease of another's lease")
            other = replace(lease, attrs=attrs(7))
            async with watching(await bench.open(2)) as watched:
                await watched.until(knows(other), "the other node's lease")

    @requirement(
        "S123",
        "A lease that is not renewed ends: that is told as removed, and its renewal is LeaseLost",
        why="A dead node's subnet has to become free, and its peers have to stop sending to it.",
    )
    async def test_expiry(self, site: StoreSite) -> None:
        """One short lease beside a long one."""
        async with site.bench() as bench:
            manager = bench.keep(await bench.able(CanExpire).open_short(1, SHORT))
            other = await bench.lease(2)
            async with watching(await bench.open(2)) as watched:
                lease = await in_time(manager.acquire_lease(attrs(1)), "acquire_lease")
                await watched.until(knows(other, lease), "both leases")
                await watched.until(knows(other), "that the short lease has ended")
            await refused(manager.renew_lease(lease), LeaseLost, "renew_lease of an ended lease")

    @requirement(
        "S124",
        "A lease that is renewed does not end",
        why="A live node must not lose its subnet.",
    )
    async def test_renewal_prolongs(self, site: StoreSite) -> None:
        """Renewed past its first end."""
        async with site.bench() as bench:
            manager = bench.keep(await bench.able(CanExpire).open_short(1, SHORT + 1))
            lease = await in_time(manager.acquire_lease(attrs(1)), "acquire_lease")
            ender = bench.keep(await bench.able(CanExpire).open_short(2, SHORT + 1))
            other = await in_time(ender.acquire_lease(attrs(2)), "acquire_lease")
            async with watching(await bench.open(2)) as watched:
                while not watched.items or other.subnets in watched.leases:
                    lease = await in_time(manager.renew_lease(lease), "renew_lease")
                    await watched.until_or(lambda w: other.subnets not in w.leases, SHORT / 4)
                held(lease.subnets in watched.leases, "the renewed lease ended too")

    @requirement(
        "S125",
        "watch_lease tells the present state first, then that the lease is lost, then on",
        why="The agent re-publishes or asks for a lease again; without the news it serves a subnet"
        " that is not its own.",
    )
    async def test_own_watch(self, site: StoreSite) -> None:
        """Deleted, and acquired again."""
        async with site.bench() as bench:
            manager, lease = await _held(bench)
            async with aclosing(manager.watch_lease(lease)) as states:
                first = await next_of(states, "the present state of the lease")
                held(isinstance(first, LeaseHeld), f"the first state of a held lease is {first}")
                await bench.able(CanTakeAway).take_away(lease)
                state: LeaseState = first
                while not isinstance(state, LeaseGone):
                    state = await next_of(states, "the loss of the lease")
                held(state.reason, "it does not say why the lease is gone")
                await bench.open(1)  # brings back what the node is to whoever assigns the subnets
                again = await in_time(
                    manager.acquire_lease(attrs(1), lease.subnets), "acquire_lease"
                )
                if again.subnets == lease.subnets:
                    while not isinstance(state, LeaseHeld):
                        state = await next_of(states, "that the lease is held again")

    @requirement(
        "S126",
        "watch_lease tells that another node has the lease now",
        why="Both would use the subnet, and flannel does not notice (D8).",
    )
    async def test_own_watch_overwritten(self, site: StoreSite) -> None:
        """Overwritten with another node's attributes."""
        async with site.bench() as bench:
            manager, lease = await _held(bench)
            async with aclosing(manager.watch_lease(lease)) as states:
                state = await next_of(states, "the present state of the lease")
                await bench.able(CanGiveAway).give_away(lease, attrs(7))
                while not isinstance(state, LeaseGone):
                    state = await next_of(states, "the loss of the lease")

    @requirement(
        "S127",
        "watch_lease tells of a lease that was lost before it began, and what a held one publishes",
        why="A lease may go while nobody looks; an agent that is not told serves another's subnet.",
    )
    async def test_own_watch_late(self, site: StoreSite) -> None:
        """Published anew, then deleted; with a fresh watch each time."""
        async with site.bench() as bench:
            manager, lease = await _held(bench)
            wanted = attrs(1, mac=9)
            await in_time(manager.renew_lease(replace(lease, attrs=wanted)), "renew_lease")
            async with aclosing(manager.watch_lease(lease)) as states:
                state = await next_of(states, "the present state of the lease")
            said = state.lease.attrs if isinstance(state, LeaseHeld) else state.reason
            held(said == wanted, f"the lease publishes {wanted}, and the watch says {said}")
            await bench.able(CanTakeAway).take_away(lease)
            async with aclosing(manager.watch_lease(lease)) as states:
                state = await next_of(states, "the loss of the lease before the watch")
                while not isinstance(state, LeaseGone):
                    state = await next_of(states, "the loss of the lease before the watch")

    @requirement(
        "S128",
        "watch_lease reconnects by itself, and misses no loss",
        why="A lease goes most easily while its node is cut off.",
    )
    async def test_own_watch_reconnects(self, site: StoreSite) -> None:
        """The connections are broken, then the lease is deleted."""
        async with site.bench() as bench:
            manager, lease = await _held(bench)
            async with aclosing(manager.watch_lease(lease)) as states:
                state = await next_of(states, "the present state of the lease")
                await bench.able(CanBreak).break_connections()
                await bench.able(CanTakeAway).take_away(lease)
                while not isinstance(state, LeaseGone):
                    state = await next_of(states, "the loss of the lease, after a reconnect,")


def _no_earlier(renewed: Lease, before: Lease) -> bool:
    if renewed.expires_at is None or before.expires_at is None:
        return renewed.expires_at is before.expires_at
    return renewed.expires_at >= before.expires_at


async def _held(bench: Bench) -> tuple[SubnetManager, Lease]:
    manager = await bench.open()
    return manager, await in_time(manager.acquire_lease(attrs(1)), "acquire_lease")
