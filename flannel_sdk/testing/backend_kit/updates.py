"""Level 1: what updates do, told by comparing with a fresh node that heard all at once."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from flannel_sdk.dataplane.requests import Via
from flannel_sdk.model import ByFamily, Family, Lease, Prefix
from flannel_sdk.testing.backend_kit.fake_site import FakeNode, MemoryKernel, subnets_of
from flannel_sdk.testing.backend_kit.memory_bench import MemoryBench, Stack
from flannel_sdk.testing.backend_kit.registering import name_of
from flannel_sdk.testing.backend_kit.state import difference, state_of
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.verdicts import held


class Updates(Conformance):
    """Full sets, deltas, repetition."""

    @requirement(
        "B104",
        "Before its first update a network takes nothing away",
        why="What an earlier run left is what carries the traffic until the peers are known.",
    )
    async def test_waits_for_the_first_update(self, memory: MemoryBench) -> None:
        """After a restart, for half a minute without an update."""
        stack = await memory.needs_kernel()
        peers = await memory.peers(stack, 2, 3)
        node = memory.node()
        async with memory.serving(node, stack, peers):
            pass
        before = state_of(node.kernel)
        async with memory.serving(node, stack) as run:
            held(before <= state_of(node.kernel), "register_network took away what was there")
            await asyncio.sleep(30)
            run.check()
            gone = difference(state_of(node.kernel), before)
            held(before <= state_of(node.kernel), f"while it waits for an update: {gone}")

    @requirement(
        "B105",
        "The first update of a run is the whole set: peers that are not in it go",
        why="A peer that left while the agent was down would be sent to for ever.",
    )
    async def test_first_update_prunes(self, memory: MemoryBench) -> None:
        """After a restart with fewer peers."""
        stack = await memory.needs_kernel()
        a, b, c = await memory.peers(stack, 2, 3, 4)
        node = memory.node()
        async with memory.serving(node, stack, [a, b]):
            pass
        async with memory.serving(node, stack, [b, c]):
            await memory.holds(node, [b, c], stack, "after a restart with another set of peers")

    @requirement(
        "B106",
        "A later full update is the whole set too",
        why="The feed tells everything anew after a gap in the store's history.",
    )
    async def test_full_replaces(self, memory: MemoryBench) -> None:
        """Fewer, other, none."""
        stack = await memory.needs_kernel()
        a, b, c = await memory.peers(stack, 2, 3, 4)
        node = memory.node()
        async with memory.serving(node, stack, [a, b]) as run:
            for peers in ([b], [c, a], [], [a, b, c]):
                await run.full(peers)
                await memory.holds(node, peers, stack, f"after a full update of {len(peers)} peers")

    @requirement(
        "B107",
        "An update that is not full leaves the peers alone that it does not name",
        why="Deltas are what a cluster sends all day.",
    )
    async def test_delta(self, memory: MemoryBench) -> None:
        """One more, one less, both at once."""
        stack = await memory.needs_kernel()
        a, b, c = await memory.peers(stack, 2, 3, 4)
        node = memory.node()
        async with memory.serving(node, stack, [a]) as run:
            await run.change([b])
            await memory.holds(node, [a, b], stack, "after one more peer")
            await run.change([c], [a.subnets])
            await memory.holds(node, [b, c], stack, "after one peer came and one went")

    @requirement(
        "B108",
        "Asking for the next update means that the last one is in the kernel",
        why="The agent reports the network as converged by it, and the container runtime starts.",
    )
    async def test_applied_when_asking(self, memory: MemoryBench) -> None:
        """Looked at in the very moment."""
        stack = await memory.needs_kernel()
        a, b = await memory.peers(stack, 2, 3)
        async with memory.serving(memory.node(), stack, [a, b]) as run:
            await asyncio.sleep(30)
            run.check()
        node = memory.node()
        async with memory.serving(node, stack, []) as run:
            await run.change([a, b])
            at_once = state_of(node.kernel)
            await asyncio.sleep(30)
            later = state_of(node.kernel)
        held(at_once == later, f"when it asks for more: {difference(at_once, later)}")

    @requirement(
        "B109",
        "Each peer's subnet is routed",
        why="This is what a backend is for.",
    )
    async def test_routes(self, memory: MemoryBench) -> None:
        """In every family that both have, for each combination of families."""
        await memory.needs_kernel()
        for stack in await memory.stacks():
            peers = await memory.peers(stack, 2, 3)
            node = memory.node()
            async with memory.serving(node, stack, peers):
                for peer in peers:
                    for _, subnet in peer.subnets.items_by_family():
                        held(
                            list(_ways(node.kernel, subnet)),
                            f"{name_of(stack)}: no route leads to {subnet}",
                        )

    @requirement(
        "B110",
        "The same update again writes nothing",
        why="The feed may repeat itself, and thousands of needless writes are seconds without"
        " convergence.",
    )
    async def test_idempotent(self, memory: MemoryBench) -> None:
        """Full, and not full."""
        stack = await memory.needs_kernel()
        peers = await memory.peers(stack, 2, 3, 4)
        node = memory.node()
        async with memory.serving(node, stack, peers) as run:
            before = node.kernel.writes
            await run.full(peers)
            held(node.kernel.writes == before, "the same full set again wrote to the kernel")
            await run.change(peers)
            held(node.kernel.writes == before, "the same peers again wrote to the kernel")
            await memory.holds(node, peers, stack, "after the same peers again")

    @requirement(
        "B111",
        "A removed peer leaves nothing in the kernel",
        why="Its subnet goes to another node, and traffic would go to the old one.",
    )
    async def test_removal(self, memory: MemoryBench) -> None:
        """One, then the last."""
        stack = await memory.needs_kernel()
        a, b = await memory.peers(stack, 2, 3)
        node = memory.node()
        async with memory.serving(node, stack, [a, b]) as run:
            await run.change([], [a.subnets])
            await memory.holds(node, [b], stack, "after a peer was removed")
            await run.change([], [b.subnets])
            await memory.holds(node, [], stack, "after the last peer was removed")

    @requirement(
        "B112",
        "The removal of a peer that was never seen changes nothing",
        why="A removal may name a peer whose lease was refused, or that went before this run.",
    )
    async def test_unknown_removal(self, memory: MemoryBench) -> None:
        """Unknown, and removed already."""
        stack = await memory.needs_kernel()
        a, b = await memory.peers(stack, 2, 3)
        node = memory.node()
        async with memory.serving(node, stack, [a, b]) as run:
            await run.change([], [subnets_of(77, stack)])
            await memory.holds(node, [a, b], stack, "after the removal of an unknown peer")
            await run.change([], [a.subnets])
            await run.change([], [a.subnets])
            await memory.holds(node, [b], stack, "after a peer was removed twice")

    @requirement(
        "B113",
        "A change of any attribute of a peer replaces what its old one had made",
        why="A node that comes back with another address keeps its subnet; what is stale of it"
        " swallows its traffic.",
    )
    async def test_attributes(self, memory: MemoryBench) -> None:
        """Each attribute by itself, there and back."""
        stack = await memory.needs_kernel()
        peer, other = await memory.peers(stack, 2, 3)
        donor = await memory.peer(9, stack)
        for what, changed in variants(peer, donor):
            node = memory.node()
            async with memory.serving(node, stack, [peer, other]) as run:
                await run.change([changed])
                await memory.holds(
                    node, [changed, other], stack, f"after a change of a peer's {what}"
                )
                await run.change([peer])
                await memory.holds(node, [peer, other], stack, f"after its {what} changed back")

    @requirement(
        "B114",
        "A peer is served in the families that both have, and no other",
        why="While a cluster moves to dual stack, nodes of both kinds live together.",
    )
    async def test_common_families(self, memory: MemoryBench) -> None:
        """A node of two families with peers of one, and the other way round."""
        await memory.needs_kernel()
        stacks = await memory.stacks()
        for own in stacks:
            for theirs in stacks:
                peer = await memory.peer(2, theirs)
                node = memory.node()
                async with memory.serving(node, own, [peer, await memory.peer(3, own)]):
                    for family, subnet in peer.subnets.items_by_family():
                        routed = bool(list(_ways(node.kernel, subnet)))
                        held(
                            routed == (family in own),
                            f"a node with {name_of(own)} and a peer with {name_of(theirs)}: "
                            + (f"{subnet} is routed" if routed else f"no route leads to {subnet}"),
                        )

    @requirement(
        "B115",
        "This node's own subnet is not sent elsewhere",
        why="A node that takes its own lease for a peer's cuts its own containers off.",
    )
    async def test_own_subnet(self, memory: MemoryBench) -> None:
        """No route by way of a gateway, and no other than the network's on the link."""
        await memory.needs_kernel()
        for stack in await memory.stacks():
            node = memory.node()
            async with memory.serving(node, stack, await memory.peers(stack, 2, 3)):
                self._check_own(node, stack)

    def _check_own(self, node: FakeNode, stack: Stack) -> None:
        for _, subnet in node.subnets(stack).items_by_family():
            away = [
                prefix
                for prefix, via in _ways(node.kernel, subnet)
                if via.gateway is not None or prefix == subnet
            ]
            held(not away, f"{name_of(stack)}: a route to {away[0] if away else ''} takes it away")


def _ways(kernel: MemoryKernel, subnet: Prefix) -> Iterator[tuple[Prefix, Via]]:
    """The routes to all of a subnet, the default route apart."""
    for (address, length, _), via in kernel.route_rows.items():
        prefix = Prefix(type(subnet.address)(address), length)
        if length and prefix.covers(subnet):
            yield prefix, via
    for stray in kernel.strays:
        prefix = Prefix(type(subnet.address)(stray.address), stray.length)
        if stray.length and prefix.covers(subnet):
            yield prefix, Via(stray.ifindex, stray.gateway)


def variants(peer: Lease, donor: Lease) -> Iterator[tuple[str, Lease]]:
    """``peer`` with each attribute in turn as ``donor`` has it, or without it."""
    attrs, theirs = peer.attrs, donor.attrs
    yield "expiry and revision", replace(peer, expires_at=2e9 + 86400, revision=8)
    yield "attributes altogether", replace(peer, attrs=theirs)
    yield "backend type", replace(peer, attrs=replace(attrs, backend_type="another"))
    for family in Family:
        ip, data = theirs.public_ips.get(family), theirs.backend_data.get(family)
        if ip is not None:
            ips = attrs.public_ips.with_value(family, ip)
            yield f"{family} public IP", replace(peer, attrs=replace(attrs, public_ips=ips))
        if data is not None:
            changed = attrs.backend_data.with_value(family, data)
            yield (
                f"{family} backend data",
                replace(peer, attrs=replace(attrs, backend_data=changed)),
            )
    if len(peer.subnets.families) == 2:
        yield (
            "second family",
            replace(
                peer,
                attrs=replace(
                    attrs,
                    public_ips=ByFamily(attrs.public_ips.ipv4),
                    backend_data=ByFamily(attrs.backend_data.ipv4),
                ),
            ),
        )
