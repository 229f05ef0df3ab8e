"""Level 3: two nodes, and packets between their pods."""

from contextlib import AsyncExitStack
from functools import partial

from flannel_sdk.model import Family
from flannel_sdk.testing.backend_kit.driving import running
from flannel_sdk.testing.backend_kit.kernel_bench import KernelBench
from flannel_sdk.testing.backend_kit.memory_bench import Stack
from flannel_sdk.testing.backend_kit.registering import name_of
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.verdicts import Broken, does_not_apply, held
from flannel_sdk.testing.overlay import V4, V6, Node
from flannel_sdk.testing.traffic import Stream, reaches, stream
from flannel_sdk.testing.waiting import eventually

_WHY = "This is what a backend is for; a packet of full size is what a transfer is made of."
_SOME = 50
"""Packets, one a millisecond."""


class TwoNodes(Conformance):
    """The oracle is a packet that arrives."""

    @requirement("B301", "IPv4 packets of full MTU arrive whole, each way", why=_WHY)
    async def test_ipv4(self, site: KernelBench) -> None:
        """In a network of IPv4 only."""
        await self._carries(site, (V4,))

    @requirement("B302", "IPv6 packets of full MTU arrive whole, each way", why=_WHY)
    async def test_ipv6(self, site: KernelBench) -> None:
        """In a network of IPv6 only."""
        await self._carries(site, (V6,))

    @requirement("B303", "In a dual-stack network both families do", why=_WHY)
    async def test_dual(self, site: KernelBench) -> None:
        """In a network of both."""
        await self._carries(site, (V4, V6))

    async def _carries(self, site: KernelBench, stack: Stack) -> None:
        if stack not in await self._stacks(site):
            does_not_apply(f"it does not serve networks with {name_of(stack)}")
        one, two = site.two_nodes()
        first, second = await site.register(one, stack), await site.register(two, stack)
        async with running(first) as run1, running(second) as run2:
            await run1.full([second.lease])
            await run2.full([first.lease])
            for family in stack:
                await _arrives(site, one, two, family, first.mtu)
                await _arrives(site, two, one, family, second.mtu)
        held(
            one.fragments() == two.fragments() == 0,
            f"packets of {first.mtu} bytes, which is its mtu, are sent in fragments",
        )

    async def _stacks(self, site: KernelBench) -> list[Stack]:
        await site.needs_dataplane()
        return await site.stacks()

    @requirement(
        "B304",
        "No packet is lost while a network stops and starts again",
        why="Agents are upgraded under load.",
    )
    async def test_restart_under_load(self, site: KernelBench) -> None:
        """A packet each millisecond in every family."""
        stack = await site.needs_dataplane()
        one, two = site.two_nodes()
        first, second = await site.register(one, stack), await site.register(two, stack)
        async with AsyncExitStack() as traffic, running(second) as run2:
            await run2.full([first.lease])
            async with running(first) as run1:
                await run1.full([second.lease])
                for family in stack:
                    await _arrives(site, one, two, family, first.mtu)
                flows = [await traffic.enter_async_context(stream(one, two, f)) for f in stack]
                await _more(flows)
            await _more(flows)
            async with running(await site.register(one, stack)) as run1:
                await run1.full([second.lease])
                await _more(flows)
        for family, flow in zip(stack, flows, strict=True):
            held(
                not flow.lost, f"{len(flow.lost)} of {flow.sent} {family} packets were lost over it"
            )

    @requirement(
        "B305",
        "Traffic is back after somebody has deleted a device of the network",
        why="Network managers and hurried operators delete devices; nobody tells the agent.",
    )
    async def test_device_loss(self, site: KernelBench) -> None:
        """Both ways, in every family."""
        stack = await site.needs_dataplane()
        one, two = site.two_nodes()
        before = {str(row["ifname"]) for row in one.show("link show")}
        first, second = await site.register(one, stack), await site.register(two, stack)
        async with running(first) as run1, running(second) as run2:
            await run1.full([second.lease])
            await run2.full([first.lease])
            devices = {str(row["ifname"]) for row in one.show("link show")} - before
            if not devices:
                does_not_apply("it makes no device")
            for device in devices:
                one.ip(f"link del {device}")
            for family in stack:
                await _arrives(site, one, two, family, first.mtu)
                await _arrives(site, two, one, family, second.mtu)


async def _arrives(
    site: KernelBench, source: Node, target: Node, family: Family, size: int
) -> None:
    if not await reaches(source, target, family, size=size, seconds=site.patience):
        small = await reaches(source, target, family, seconds=2.0)
        raise Broken(
            f"{family} packets of {size} bytes from node {source.number} to node {target.number}"
            f" do not arrive{', and small ones do' if small else ''}"
        )


async def _more(flows: list[Stream]) -> None:
    for flow in flows:
        sent = flow.sent
        await eventually(partial(_sent, flow, sent + _SOME), "traffic goes on", 30.0)


def _sent(flow: Stream, number: int) -> bool:
    return flow.sent >= number
