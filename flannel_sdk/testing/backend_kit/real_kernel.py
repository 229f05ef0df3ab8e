"""Level 2: the same on a real kernel, in a namespace that has just been made."""

import asyncio
import os
import threading
from itertools import pairwise
from pathlib import Path

from flannel_sdk.model import Lease
from flannel_sdk.testing.backend_kit.driving import end_of
from flannel_sdk.testing.backend_kit.kernel_bench import KernelBench
from flannel_sdk.testing.backend_kit.kernel_state import device_names, kernel_state
from flannel_sdk.testing.backend_kit.memory_bench import Stack
from flannel_sdk.testing.backend_kit.notices import notices
from flannel_sdk.testing.backend_kit.registering import name_of, of_families
from flannel_sdk.testing.backend_kit.state import State, difference
from flannel_sdk.testing.backend_kit.updates import variants
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.verdicts import does_not_apply, held
from flannel_sdk.testing.namespaces import Namespace, run
from flannel_sdk.testing.overlay import Node
from flannel_sdk.testing.scripted import ScriptedFeed

_CUTS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)
"""Turns of the event loop after which a life is cut short."""


class RealKernel(Conformance):
    """One node in a namespace, looked at with iproute2."""

    @requirement(
        "B201",
        "It works in the network namespace that it is given, and in no other",
        why="Tests, labs and several networks in one process each have a namespace of their own.",
    )
    async def test_kernel_namespace(self, site: KernelBench) -> None:
        """What it publishes, and where its devices are, for each combination of families."""
        for stack in await site.stacks():
            node = site.node()
            before = _here()
            async with site.serving(node, stack, await site.peers(stack, 2)) as run:
                published = run.network.lease.attrs.public_ips
                wanted = of_families(node.public_ips, stack)
                held(
                    published == wanted, f"{name_of(stack)}: it publishes {published}, not {wanted}"
                )
                strays = {name for name in device_names(node.netns) if name in _here() - before}
                held(not strays, f"{name_of(stack)}: {', '.join(strays)} is in our namespace too")

    @requirement(
        "B202",
        "Full sets, deltas and removals leave in the kernel what a fresh node would hold",
        why="Whatever way the cluster took, each node has to arrive at the same data plane.",
    )
    async def test_kernel_updates(self, site: KernelBench) -> None:
        """A sequence with everything in it, compared after each step."""
        stack = await site.needs_dataplane()
        a, b, c = await site.peers(stack, 2, 3, 4)
        node = site.node()
        async with site.serving(node, stack, [a, b]) as run:
            await site.holds(node, [a, b], stack, "after the first full set")
            await run.change([c], [a.subnets])
            await site.holds(node, [b, c], stack, "after one peer came and one went")
            await run.change([], [a.subnets])
            await site.holds(node, [b, c], stack, "after the removal of a peer that had gone")
            await run.full([a, c])
            await site.holds(node, [a, c], stack, "after another full set")
        async with site.serving(node, stack, [b]):
            await site.holds(node, [b], stack, "after a restart with another set")

    @requirement(
        "B203",
        "A change of any attribute of a peer replaces what its old one had made in the kernel",
        why="A node that comes back with another address keeps its subnet; what is stale of it"
        " swallows its traffic.",
    )
    async def test_kernel_attributes(self, site: KernelBench) -> None:
        """Each attribute by itself, one after another, without the first state in between."""
        stack = await site.needs_dataplane()
        peer, other, donor = await site.peers(stack, 2, 3, 9)
        node = site.node()
        async with site.serving(node, stack, [peer, other]) as run:
            for what, changed in variants(peer, donor):
                await run.change([changed])
                await site.holds(
                    node, [changed, other], stack, f"after a change of a peer's {what}"
                )

    @requirement(
        "B204",
        "The same peers again write nothing to the kernel",
        why="Everybody who listens to the kernel is woken by each write, for each peer.",
    )
    async def test_kernel_idempotent(self, site: KernelBench) -> None:
        """Heard from the kernel."""
        stack = await site.needs_dataplane()
        peers = await site.peers(stack, 2, 3)
        node = site.node()
        async with site.serving(node, stack, peers) as run:
            await site.heals(node, await site.settled(peers, stack), "at first", run)
            with notices(node.netns) as heard:
                await run.full(peers)
                await run.change(peers)
                held(not (writes := heard.writes()), f"it wrote {', '.join(writes[:3])}")

    @requirement(
        "B205",
        "A stop leaves the data plane, and the next start adopts it: nothing of it goes away",
        why="An upgrade of the agent must not cost a packet.",
    )
    async def test_kernel_restart(self, site: KernelBench) -> None:
        """Heard from the kernel, over a stop and a start."""
        stack = await site.needs_dataplane()
        peers = await site.peers(stack, 2, 3)
        node = site.node()
        async with site.serving(node, stack, peers) as run:
            first = run.network.lease.attrs
            before, devices = kernel_state(node.netns), device_names(node.netns)
            with notices(node.netns) as heard:
                await run.stop()
                stopped = kernel_state(node.netns)
                held(stopped == before, f"after the stop: {difference(stopped, before)}")
                async with site.serving(node, stack, peers) as again:
                    attrs = again.network.lease.attrs
                    held(attrs == first, f"it publishes {attrs} now, and {first} before")
                    gone = heard.removals()
                    held(not gone, f"the restart took away {', '.join(gone[:3])}")
                    have = kernel_state(node.netns)
                    held(have == before, f"after the restart: {difference(have, before)}")
                    held(devices == device_names(node.netns), "a device has another MAC now")
            return

    @requirement(
        "B206",
        "What others have put into the kernel stays",
        why="Nodes carry other networks, other tunnels and an operator's own routes.",
    )
    async def test_kernel_foreign_objects(self, site: KernelBench) -> None:
        """Devices, addresses, routes, neighbours, rules; through updates and a restart."""
        stack = await site.needs_dataplane()
        a, b = await site.peers(stack, 2, 3)
        node = site.node()
        foreign = _make_foreign(node.netns)
        rules = node.netns.ip("rule show")
        for peers in ([a, b], [b]):
            async with site.serving(node, stack, peers) as run:
                await run.full([a])
                _still(node, foreign, "while it runs")
            _still(node, foreign, "after it stopped")
        held(rules == node.netns.ip("rule show"), "it changed the routing rules")

    @requirement(
        "B207",
        "A device that somebody deletes comes back with all that was on it",
        why="Network managers and hurried operators delete devices; nobody tells the agent.",
    )
    async def test_kernel_device_thief(self, site: KernelBench) -> None:
        """Each of its devices."""
        stack = await site.needs_dataplane()
        peers = await site.peers(stack, 2, 3)
        node = site.node()
        async with site.serving(node, stack, peers) as run:
            wanted, devices = kernel_state(node.netns), device_names(node.netns)
            if not devices:
                does_not_apply("it makes no device")
            for name in devices:
                node.ip(f"link del {name}")
                await site.heals(node, wanted, f"after {name} was deleted", run)
            held(devices == device_names(node.netns), "a device came back with another MAC")

    @requirement(
        "B208",
        "What somebody deletes of a peer comes back",
        why="A flush of routes or neighbours would cut the node off until its agent restarts.",
    )
    async def test_kernel_thieves(self, site: KernelBench) -> None:
        """Every route, then every neighbour, then every forwarding entry."""
        stack = await site.needs_dataplane()
        peers = await site.peers(stack, 2, 3)
        node = site.node()
        async with site.serving(node, stack, peers) as run:
            wanted = kernel_state(node.netns)
            for what in ("route", "neighbour", "forwarding"):
                lines = [line for line in wanted if line.startswith(f"{what} ")]
                for line in lines:
                    _steal(node.netns, line)
                if lines:
                    await site.heals(node, wanted, f"after the theft of each {what}", run)

    @requirement(
        "B209",
        "A cancel ends it, and leaves no thread, process or descriptor, and no harm",
        why="An agent may be stopped at any moment, and an embedder's process lives on.",
    )
    async def test_kernel_cancel(self, site: KernelBench) -> None:
        """A life from registering to a delta, cut short after ever more turns of the loop."""
        stack = await site.widest()
        a, b, c = await site.peers(stack, 2, 3, 4)
        wanted = await site.settled([b, c], stack)
        node = site.node()
        for cut in _CUTS:
            before = _resources()
            await _cut_short(site, node, stack, cut, [a, b, c])
            await _gone(before, f"after a cancel at step {cut}", site.patience)
        async with site.serving(node, stack, [b, c]) as run:
            await site.heals(node, wanted, "started again after all the cancels", run)


async def _cut_short(
    site: KernelBench, node: Node, stack: Stack, cut: int, peers: list[Lease]
) -> None:
    a, b, c = peers
    feed = ScriptedFeed()

    async def live() -> None:
        network = await site.register(node, stack)
        await network.run(feed)

    async def tell() -> None:
        await feed.full([a, b])
        await feed.change([c], [a.subnets])

    life, telling = asyncio.create_task(live()), asyncio.create_task(tell())
    for _ in range(cut):
        await asyncio.sleep(0.001)
    life.cancel()
    telling.cancel()
    await end_of(life, f"what was cancelled at step {cut}")
    await asyncio.wait([telling])


def _here() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def _still(node: Node, foreign: State, when: str) -> None:
    have = kernel_state(node.netns)
    held(foreign <= have, f"{when}: {difference(have & foreign, foreign)}")


def _make_foreign(netns: Namespace) -> State:
    before = kernel_state(netns)
    netns.add_veth("foreign0", "10.67.0.2/24", "fd00:67::2/64")
    netns.ip_batch(
        [
            "route add 10.66.0.0/16 via 192.0.2.200 dev eth0",
            "route add 10.66.1.0/24 via 192.0.2.200 dev eth0 protocol 102",
            "route add 10.68.0.0/16 via 10.67.0.1 dev foreign0 protocol static metric 7",
            "route add 10.69.0.0/16 via 192.0.2.200 dev eth0 table 77",
            "route add fd00:66::/48 via 2001:db8::200 dev eth0",
            "neigh add 10.67.0.1 lladdr 02:00:00:00:00:01 nud permanent dev foreign0",
            "rule add from 10.69.0.0/16 table 77",
        ]
    )
    return kernel_state(netns) - before


def _steal(netns: Namespace, line: str) -> None:
    """Delete what a line of a state says."""
    words = line.split()
    said = dict(pairwise(words))
    if words[0] == "route":
        family = "-6" if ":" in words[1] else "-4"
        metric = f" metric {said['metric']}" if said["metric"] != "0" else ""
        netns.ip(f"{family} route del {words[1]}{metric} table {said['table']}")
    elif words[0] == "neighbour":
        netns.ip(f"neigh del {words[1]} dev {said['on']}")
    else:
        mac, to, device = said["of"], said["to"], said["on"]
        run(f"bridge -n {netns.name} fdb del {mac} dev {device} dst {to} self")


def _resources() -> set[str]:
    descriptors = {
        f"descriptor {entry} {target}"
        for entry in os.listdir("/proc/self/fd")
        if (target := _target(entry)) is not None
    }
    threads = {
        f"thread {one.name} {one.ident}"
        for one in threading.enumerate()
        if not one.name.startswith("asyncio_")
    }
    children: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            children.update(f"process {pid}" for pid in (task / "children").read_text().split())
        except FileNotFoundError:
            continue
    return descriptors | threads | children


def _target(entry: str) -> str | None:
    try:
        target = os.readlink(f"/proc/self/fd/{entry}")
    except FileNotFoundError:
        return None
    return target if target.startswith(("socket:", "/dev/net", "pipe:")) else None


async def _gone(before: set[str], when: str, patience: float) -> None:
    """Wait until what a cancelled life used is gone; Broken if it stays."""
    deadline = asyncio.get_running_loop().time() + patience
    while left := _resources() - before:
        late = asyncio.get_running_loop().time() > deadline
        held(not late, f"{when} it leaves behind: {', '.join(sorted(left)[:3])}")
        await asyncio.sleep(0.05)
