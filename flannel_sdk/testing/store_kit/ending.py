"""Cancelling and closing: nothing stays behind, and nothing is lost."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import aclosing

from flannel_sdk.interfaces import SubnetManager
from flannel_sdk.model import LeaseSnapshot, is_same_node
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.verdicts import held
from flannel_sdk.testing.store_kit.bench import (
    LINGER,
    Bench,
    StoreSite,
    attrs,
    end_of,
    eventually,
    in_time,
    no_task_left,
)
from flannel_sdk.testing.store_kit.harness import CanCount
from flannel_sdk.testing.store_kit.watched import knows, next_of, watching


class Ending(Conformance):
    """Whenever it comes."""

    @requirement(
        "S140",
        "A cancel at any step ends acquire_lease in a second, and leaves one lease at most",
        why="An agent may be stopped at any moment; leases that nobody holds use up the network.",
    )
    async def test_cancelled_acquire(self, site: StoreSite) -> None:
        """At each turn of the event loop, then at less and less of them."""
        async with site.bench() as bench:
            manager = await bench.open(1)
            await in_time(manager.get_network_config(), "get_network_config")  # connects
            before = asyncio.all_tasks()
            for steps in _ever_later():
                work = asyncio.create_task(manager.acquire_lease(attrs(1)))
                if not await _cancelled(work, steps, "acquire_lease"):
                    break
                await no_task_left(before, f"acquire_lease was cancelled at step {steps}")
            await _one_lease(bench, manager)

    @requirement(
        "S141",
        "A cancel at any step ends renew_lease in a second, and the lease is whole",
        why="A half-written entry would be a bad one, and hide this node from all others.",
    )
    async def test_cancelled_renewal(self, site: StoreSite) -> None:
        """With other attributes each time."""
        async with site.bench() as bench:
            manager = await bench.open(1)
            lease = await in_time(manager.acquire_lease(attrs(1)), "acquire_lease")
            before = asyncio.all_tasks()
            for steps in _ever_later():
                work = asyncio.create_task(manager.renew_lease(lease))
                if not await _cancelled(work, steps, "renew_lease"):
                    break
                await no_task_left(before, f"renew_lease was cancelled at step {steps}")
            async with watching(await bench.open(2)) as watched:
                await watched.until(knows(lease), "the whole lease")
                held(not watched.malformed, f"it is malformed: {watched.malformed}")

    @requirement(
        "S142",
        "A cancel ends a watch in a second, and leaves no task",
        why="A swallowed cancel hangs the whole agent at its end.",
    )
    async def test_cancelled_watch(self, site: StoreSite) -> None:
        """Before its first item, and while it waits; of all leases and of one's own."""
        async with site.bench() as bench:
            manager = await bench.open(1)
            lease = await in_time(manager.acquire_lease(attrs(1)), "acquire_lease")
            before = asyncio.all_tasks()
            for own in (False, True):
                for steps in (0, 1, 3, 10, 1000):
                    what = "watch_lease" if own else "watch_leases"
                    work = manager.watch_lease(lease) if own else manager.watch_leases()
                    reading = asyncio.create_task(_read_all(work))
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    held(not reading.done(), f"{what} ended by itself")
                    reading.cancel()
                    await end_of(reading, what)
                    await no_task_left(before, f"{what} was cancelled")

    @requirement(
        "S143",
        "Nothing stays open once the managers are closed, whatever was cancelled",
        why="Each restart of a watch would leave a connection, until the server refuses more.",
    )
    async def test_connections(self, site: StoreSite) -> None:
        """Counted before and after."""
        async with site.bench() as bench:
            counter = bench.able(CanCount)
            before = counter.connections()
            manager = await bench.open(1)
            for steps in (1, 5, 20, 100):
                await _cut_short(manager, steps)
            await in_time(manager.aclose(), "aclose")
            await eventually(
                lambda: _open_now(counter) <= before,
                lambda: f"{counter.connections() - before} are open after aclose",
                LINGER,
            )

    @requirement(
        "S144",
        "aclose ends open watches, can be called again, and leaves the lease in the store",
        why="The agent's last act; a lease that goes with it would cost the pods their addresses.",
    )
    async def test_aclose(self, site: StoreSite) -> None:
        """While two watches wait, and one is open that nobody reads."""
        async with site.bench() as bench:
            manager = await bench.open(1)
            lease = await in_time(manager.acquire_lease(attrs(1)), "acquire_lease")
            before = asyncio.all_tasks()
            async with (
                aclosing(manager.watch_leases()) as items,
                aclosing(manager.watch_lease(lease)) as states,
                aclosing(manager.watch_leases()) as unread,
            ):
                await next_of(unread, "the first item")
                await next_of(items, "the first item")
                await next_of(states, "the first state")
                waiting = [asyncio.create_task(_rest(items)), asyncio.create_task(_rest(states))]
                try:
                    await asyncio.sleep(0)
                    await in_time(manager.aclose(), "aclose")
                    await in_time(manager.aclose(), "a second aclose")
                    await asyncio.wait(waiting, timeout=LINGER)
                    ended = [task.done() for task in waiting]
                finally:
                    for task in waiting:
                        task.cancel()
                    await asyncio.wait(waiting)
                for task, at_once, what in zip(
                    waiting, ended, ("watch_leases", "watch_lease"), strict=True
                ):
                    held(at_once, f"{what} goes on after aclose")
                    await in_time(task, f"{what}, when the manager was closed,")
            await no_task_left(before, "aclose")
            async with watching(await bench.open(2)) as watched:
                await watched.until(knows(lease), "the lease, after aclose,")


def _ever_later() -> Iterator[int]:
    """0, 1, 2, .. 20, and then a third more each time."""
    steps = 0
    while steps < 20_000:
        yield steps
        steps = steps + 1 if steps < 20 else steps * 4 // 3


async def _cancelled(work: "asyncio.Task[object]", steps: int, what: str) -> bool:
    """Cancel after so many turns of the loop; False if it was done by then."""
    for _ in range(steps):
        await asyncio.sleep(0)
    if work.done():
        await in_time(work, f"{what}, after one that was cancelled,")
        return False
    work.cancel()
    await end_of(work, what)
    return True


def _open_now(counter: CanCount) -> int:
    gc.collect()  # a failure may keep frames of its own, and what they hold
    return counter.connections()


async def _cut_short(manager: SubnetManager, steps: int) -> None:
    """Cancel two calls; nothing of them is kept here, for a task keeps its frames."""
    await _cancelled(asyncio.create_task(manager.acquire_lease(attrs(1))), steps, "acquire_lease")
    await _cancelled(asyncio.create_task(_read_all(manager.watch_leases())), steps, "watch_leases")


async def _one_lease(bench: Bench, manager: SubnetManager) -> None:
    """Broken unless the node holds exactly one lease, once it has asked for it again."""
    lease = await in_time(manager.acquire_lease(attrs(1)), "acquire_lease after the cancels")
    async with aclosing((await bench.open(2)).watch_leases()) as items:
        item = await next_of(items, "the first item")
    assert isinstance(item, LeaseSnapshot)
    own = [one for one in item.leases if is_same_node(one.attrs.public_ips, lease.attrs.public_ips)]
    held(len(own) == 1, f"the node holds {len(own)} leases after its calls were cancelled")
    held(not item.malformed, f"a bad entry was left: {item.malformed}")


async def _read_all(items: object) -> None:
    assert hasattr(items, "aclose")
    async with aclosing(items) as open_items:
        async for _ in open_items:  # type: ignore[attr-defined]
            pass


async def _rest(items: object) -> None:
    async for _ in items:  # type: ignore[attr-defined]
        pass
