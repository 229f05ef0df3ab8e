"""Level 1: what a backend publishes, says of itself and leaves behind when it registers."""

import asyncio
import inspect
import threading
import time

from flannel_sdk.interfaces import Network
from flannel_sdk.model import ByFamily, Family, IPAddress, LeaseAttrs
from flannel_sdk.testing.backend_kit.driving import running
from flannel_sdk.testing.backend_kit.fake_site import UNDERLAY, FakeNode, public_ips_of
from flannel_sdk.testing.backend_kit.memory_bench import MemoryBench, Stack
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.verdicts import Broken, held

_SECONDS_TO_END = 2.0
"""Of real time, for threads of what has ended."""
_OVERHEAD = {
    "vxlan": {Family.IPV4: 50, Family.IPV6: 70},
    "geneve": {Family.IPV4: 50, Family.IPV6: 70},
    "ipip": {Family.IPV4: 20},
    "sit": {Family.IPV4: 20},
    "ip6tnl": {Family.IPV6: 40},
    "gre": {Family.IPV4: 24},
    "wireguard": {Family.IPV4: 60, Family.IPV6: 80},
}
"""Bytes that the kernel's tunnels add to a packet, by the family outside."""


def name_of(stack: Stack) -> str:
    """The families of a network for people."""
    return " and ".join(map(str, stack))


class Registering(Conformance):
    """register_network and the network that it gives."""

    @requirement(
        "B101",
        "register_network publishes this node's public IPs and gives the network of that lease",
        why="Peers send to what the lease says, and the container runtime takes what the network"
        " says.",
    )
    async def test_registers(self, memory: MemoryBench) -> None:
        """For each combination of families that it serves."""
        for stack in await memory.stacks():
            network, published = await self._registered(memory, memory.node(), stack)
            for attrs in published:
                wanted = of_families(public_ips_of(1), stack)
                held(
                    attrs.public_ips == wanted,
                    f"{name_of(stack)}: it publishes {attrs.public_ips}, not {wanted}",
                )
                held(
                    attrs.backend_type in {"", memory.subject.name},
                    f"{name_of(stack)}: its lease says backend {attrs.backend_type!r},"
                    f" not {memory.subject.name!r}",
                )
            held(
                network.lease.attrs == published[-1],
                "the network's lease is not the one that acquire_lease gave last",
            )
            held(
                inspect.iscoroutinefunction(network.run),
                "the network's run is no coroutine function",
            )

    async def _registered(
        self, memory: MemoryBench, node: FakeNode, stack: Stack
    ) -> tuple[Network, list[LeaseAttrs]]:
        try:
            network, leases = await memory.try_to_register(node, stack)
        except Exception as error:
            raise Broken(
                f"{name_of(stack)}: register_network raised {type(error).__name__}: {error}"
            ) from error
        held(leases.published, f"{name_of(stack)}: it did not call acquire_lease")
        return network, leases.published

    @requirement(
        "B102",
        "mtu is no more than what the underlay carries without fragments",
        why="An MTU too large drops or fragments big packets: small ones work, and a transfer"
        " hangs.",
    )
    async def test_mtu(self, memory: MemoryBench) -> None:
        """Against the underlay, the devices it made, and another underlay."""
        for stack in await memory.stacks():
            mtus = {}
            for underlay in (1500, 1400):
                node = memory.node(mtu=underlay)
                network = await memory.register(node, stack)
                mtus[underlay] = network.mtu
                held(
                    type(network.mtu) is int and 0 < network.mtu <= underlay,
                    f"{name_of(stack)}: mtu is {network.mtu!r} on an underlay of {underlay}",
                )
                _check_devices(node, network.mtu, stack)
            fixed = any(name.lower() == "mtu" for name in memory.subject.options)
            held(
                fixed or mtus[1500] - mtus[1400] == 100,
                f"{name_of(stack)}: mtu is {mtus[1500]} on an underlay of 1500 bytes and"
                f" {mtus[1400]} on one of 1400",
            )

    @requirement(
        "B103",
        "Neither register_network nor run leaves tasks, threads or open connections behind",
        why="An agent registers and runs for months, through every change of configuration.",
    )
    async def test_leaves_nothing_running(self, memory: MemoryBench) -> None:
        """After registering, and after a run."""
        stack = await memory.widest()
        peers = await memory.peers(stack, 2, 3)
        before, threads = asyncio.all_tasks(), set(threading.enumerate())
        node = memory.node()
        network = await memory.register(node, stack)
        left = asyncio.all_tasks() - before
        held(not left, f"register_network left {len(left)} tasks: {left}")
        held(not node.kernel.open_sessions, "register_network left a connection to the kernel open")
        async with running(network) as run:
            await run.full(peers)
        left = asyncio.all_tasks() - before
        held(not left, f"run left {len(left)} tasks: {left}")
        held(not node.kernel.open_sessions, "run left a connection to the kernel open")
        await _threads_end(threads)


async def _threads_end(before: set[threading.Thread]) -> None:
    """Broken if threads not in ``before`` go on by themselves; the loop's own are not meant."""
    deadline = time.monotonic() + _SECONDS_TO_END
    while left := [one for one in threading.enumerate() if _is_foreign(one, before)]:
        held(time.monotonic() < deadline, f"threads go on: {', '.join(one.name for one in left)}")
        await asyncio.to_thread(left[0].join, 0.05)


def _is_foreign(thread: threading.Thread, before: set[threading.Thread]) -> bool:
    return thread not in before and not thread.name.startswith("asyncio_")


def of_families(values: ByFamily[IPAddress], stack: Stack) -> ByFamily[IPAddress]:
    """Those of these families only."""
    chosen: ByFamily[IPAddress] = ByFamily()
    for family in stack:
        chosen = chosen.with_value(family, values.get(family))
    return chosen


def _check_devices(node: FakeNode, mtu: int, stack: Stack) -> None:
    for link in node.kernel.links.values():
        if link.name == UNDERLAY:
            continue
        held(mtu <= link.mtu, f"{name_of(stack)}: mtu is {mtu}, but {link.name} carries {link.mtu}")
        by_outer = _OVERHEAD.get(link.kind, {Family.IPV4: 0})
        least = min([by_outer[one] for one in stack if one in by_outer] or by_outer.values())
        held(
            link.mtu <= node.mtu - least,
            f"{name_of(stack)}: {link.name} has an MTU of {link.mtu}, and a {link.kind} device on"
            f" {node.mtu} bytes carries {node.mtu - least} at most",
        )
