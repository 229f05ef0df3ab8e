"""Level 1: cancelling, stopping, starting again."""

import asyncio
from itertools import count

from flannel_sdk.model import Lease
from flannel_sdk.testing.backend_kit.driving import end_of, running
from flannel_sdk.testing.backend_kit.fake_site import FakeNode
from flannel_sdk.testing.backend_kit.memory_bench import MemoryBench, Stack
from flannel_sdk.testing.backend_kit.state import difference, state_of
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.verdicts import held
from flannel_sdk.testing.scripted import ScriptedFeed

_MOST_STEPS = 2000


class Ending(Conformance):
    """Nothing is lost by an end, wherever it comes."""

    @requirement(
        "B130",
        "A cancel at any step ends register_network or run, and the next start makes all good",
        why="An agent may be stopped at any moment; a half-written data plane must not stay, and"
        " a swallowed cancel hangs the whole agent.",
    )
    async def test_cancel_at_every_step(self, memory: MemoryBench) -> None:
        """A life from registering to a delta, cut short after each turn of the event loop."""
        stack = await memory.widest()
        a, b, c = await memory.peers(stack, 2, 3, 4)
        for steps in count():
            node = memory.node()
            whole = await self._cut_short(memory, node, stack, steps, [a, b, c])
            async with memory.serving(node, stack, [b, c]):
                wanted = await memory.settled([b, c], stack)
                have = state_of(node.kernel)
                held(
                    have == wanted,
                    f"started again after a cancel at step {steps}: {difference(have, wanted)}",
                )
            if whole or steps > _MOST_STEPS:
                return

    async def _cut_short(
        self, memory: MemoryBench, node: FakeNode, stack: Stack, steps: int, peers: list[Lease]
    ) -> bool:
        """Cancel after so many steps; True if all had been done before."""
        a, b, c = peers
        feed = ScriptedFeed()
        before = asyncio.all_tasks()

        async def live() -> None:
            network = await memory.register(node, stack)
            await network.run(feed)

        life = asyncio.create_task(live())
        telling = asyncio.create_task(_tell(feed, [a, b], [c], a))
        for _ in range(steps):
            await asyncio.sleep(0)
        whole = telling.done()
        life.cancel()
        telling.cancel()
        await end_of(life, f"what was cancelled at step {steps}")
        await asyncio.wait([telling])
        left = asyncio.all_tasks() - before
        held(not left, f"a cancel at step {steps} leaves {len(left)} tasks: {left}")
        return whole

    @requirement(
        "B131",
        "A cancel ends register_network or run within a second, also where the kernel is slow",
        why="A service manager kills what does not stop, and a stop of the agent waits for it.",
    )
    async def test_cancel_of_what_waits(self, memory: MemoryBench) -> None:
        """While the kernel answers nothing, in each of the two."""
        stack = await memory.needs_kernel()
        peers = await memory.peers(stack, 2, 3)
        node = memory.node()
        node.kernel.stuck = True
        registering = asyncio.create_task(memory.try_to_register(node, stack))
        await asyncio.sleep(5)
        if not registering.done():
            registering.cancel()
            await end_of(registering, "register_network, waiting for the kernel,")
        node = memory.node()
        network = await memory.register(node, stack)
        feed = ScriptedFeed()
        run = asyncio.create_task(network.run(feed))
        telling = asyncio.create_task(feed.full(peers[:1]))
        await asyncio.wait([telling], timeout=30)
        node.kernel.stuck = True
        more = asyncio.create_task(feed.full(peers))
        await asyncio.sleep(5)
        if not run.done():
            run.cancel()
            await end_of(run, "run, waiting for the kernel,")
        more.cancel()
        await asyncio.wait([more, telling])

    @requirement(
        "B132",
        "A stopped network leaves its data plane as it is",
        why="An upgrade of the agent must not cost a packet.",
    )
    async def test_stop_keeps(self, memory: MemoryBench) -> None:
        """Compared before and after."""
        stack = await memory.needs_kernel()
        node = memory.node()
        async with memory.serving(node, stack, await memory.peers(stack, 2, 3)):
            before = state_of(node.kernel)
        after = state_of(node.kernel)
        held(after == before, f"after the stop: {difference(after, before)}")

    @requirement(
        "B133",
        "A restart adopts what is there: nothing of it goes away, even for a moment",
        why="An upgrade of the agent must not cost a packet, and peers must not see another node.",
    )
    async def test_restart_adopts(self, memory: MemoryBench) -> None:
        """With the same peers."""
        stack = await memory.needs_kernel()
        peers = await memory.peers(stack, 2, 3)
        node = memory.node()
        async with memory.serving(node, stack, peers) as run:
            first = run.network.lease.attrs
        before, links = state_of(node.kernel), dict(node.kernel.links)
        node.kernel.taken.clear()
        async with memory.serving(node, stack, peers) as run:
            again = run.network.lease.attrs
            held(again == first, f"it publishes {again} after a restart, and {first} before")
            held(not node.kernel.taken, f"the restart did: {', '.join(node.kernel.taken)}")
            await memory.holds(node, peers, stack, "after a restart")
        held(
            {name: link.mac for name, link in links.items()}
            == {name: link.mac for name, link in node.kernel.links.items()},
            "a device has another MAC after a restart",
        )
        held(before == state_of(node.kernel), "the restart changed the data plane")

    @requirement(
        "B134",
        "run goes on until it is cancelled",
        why="A network that has ended repairs nothing and hears of no new peer.",
    )
    async def test_runs_on(self, memory: MemoryBench) -> None:
        """For an hour in which nothing happens."""
        stack = await memory.widest()
        node = memory.node()
        async with memory.serving(node, stack, await memory.peers(stack, 2)) as run:
            before, state = node.kernel.writes, state_of(node.kernel)
            await asyncio.sleep(3600)
            run.check()
            held(node.kernel.writes == before, "it writes to the kernel while nothing happens")
            held(state == state_of(node.kernel), "it changes the kernel while nothing happens")

    @requirement(
        "B135",
        "run can be called again on the same network",
        why="Raising from run means: run me again; the agent does so with back-off.",
    )
    async def test_runs_again(self, memory: MemoryBench) -> None:
        """With other peers."""
        stack = await memory.widest()
        a, b, c = await memory.peers(stack, 2, 3, 4)
        node = memory.node()
        network = await memory.register(node, stack)
        for peers in ([a, b], [b, c]):
            async with running(network) as run:
                await run.full(peers)
                await memory.holds(node, peers, stack, "the second time")


async def _tell(feed: ScriptedFeed, full: list[Lease], changed: list[Lease], gone: Lease) -> None:
    await feed.full(full)
    await feed.change(changed, [gone.subnets])
