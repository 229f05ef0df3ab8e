"""The bench of level 1: the backend on nodes in memory, and what they then hold."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from flannel_sdk.errors import ConfigError, InterfaceUnavailable
from flannel_sdk.interfaces import Backend, Network
from flannel_sdk.model import Family, Lease, NetworkConfig
from flannel_sdk.testing.backend_kit.driving import Running, running
from flannel_sdk.testing.backend_kit.fake_site import (
    Escapes,
    FakeNode,
    MemoryKernel,
    memory_kernels,
    subnets_of,
)
from flannel_sdk.testing.backend_kit.state import State, difference, state_of
from flannel_sdk.testing.backend_kit.subject import BackendSubject
from flannel_sdk.testing.kit.verdicts import Broken, does_not_apply, held, leave_out
from flannel_sdk.testing.scripted import ScriptedLeases

Stack = tuple[Family, ...]
STACKS: tuple[Stack, ...] = (
    (Family.IPV4,),
    (Family.IPV6,),
    (Family.IPV4, Family.IPV6),
)
CANNOT = (ConfigError, InterfaceUnavailable)
"""What a backend says of address families that it does not serve."""


def network_config(subject: BackendSubject, families: Sequence[Family]) -> NetworkConfig:
    """A network of these families with the backend and its options."""
    document: dict[str, object] = {
        "EnableIPv4": Family.IPV4 in families,
        "EnableIPv6": Family.IPV6 in families,
        "Backend": {"Type": subject.name, **subject.options},
    }
    if Family.IPV4 in families:
        document["Network"] = "10.5.0.0/16"
    if Family.IPV6 in families:
        document["IPv6Network"] = "fd00:5::/48"
    return NetworkConfig.parse(json.dumps(document))


@dataclass
class MemoryBench:
    """Registers and runs the backend that is judged."""

    subject: BackendSubject
    kernels: dict[str, MemoryKernel]
    escapes: Escapes
    _untouched: bool = False
    _stacks: list[Stack] = field(default_factory=list)
    _peers: dict[tuple[int, Stack], Lease] = field(default_factory=dict)
    _settled: dict[tuple[object, ...], State] = field(default_factory=dict)

    def node(self, number: int = 1, *, mtu: int = 1500) -> FakeNode:
        """A node that has just been made."""
        node = FakeNode(number, mtu=mtu)
        self.kernels[node.path] = node.kernel
        return node

    def backend(self, node: FakeNode) -> Backend:
        """The backend as a process that has just started makes it."""
        return self.subject.plugin.create(node.context())

    async def try_to_register(self, node: FakeNode, stack: Stack) -> tuple[Network, ScriptedLeases]:
        """As an agent does; whatever goes wrong is raised as it is."""
        leases = ScriptedLeases(node.subnets(stack))
        config = network_config(self.subject, stack)
        return await self.backend(node).register_network(config, leases), leases

    async def register(self, node: FakeNode, stack: Stack) -> Network:
        """A network on this node; Broken if it cannot be registered."""
        try:
            network, _ = await self.try_to_register(node, stack)
        except Exception as error:
            raise Broken(f"register_network raised {type(error).__name__}: {error}") from error
        return network

    @asynccontextmanager
    async def serving(
        self, node: FakeNode, stack: Stack, peers: Sequence[Lease] | None = None
    ) -> AsyncIterator[Running]:
        """A registered network that runs within, and holds ``peers`` unless that is None."""
        async with running(await self.register(node, stack)) as run:
            if peers is not None:
                await run.full(peers)
            yield run

    async def settled(self, peers: Sequence[Lease], stack: Stack, number: int = 1) -> State:
        """What a fresh node holds that is told of ``peers`` all at once."""
        key = (*peers, stack, number)
        if key not in self._settled:
            node = self.node(number)
            async with self.serving(node, stack, peers):
                self._settled[key] = state_of(node.kernel)
        return self._settled[key]

    async def holds(self, node: FakeNode, peers: Sequence[Lease], stack: Stack, when: str) -> None:
        """Broken unless the node holds what a fresh one would."""
        have, wanted = state_of(node.kernel), await self.settled(peers, stack, node.number)
        held(have == wanted, f"{when}: {difference(have, wanted)}")

    async def peer(self, number: int, stack: Stack) -> Lease:
        """What another node publishes, found by registering the backend there."""
        key = (number, stack)
        if key not in self._peers:
            network = await self.register(self.node(number), stack)
            attrs = network.lease.attrs
            self._peers[key] = Lease(subnets_of(number, stack), attrs, expires_at=2e9, revision=7)
        return self._peers[key]

    async def peers(self, stack: Stack, *numbers: int) -> list[Lease]:
        """Several of them."""
        return [await self.peer(number, stack) for number in numbers]

    async def stacks(self) -> list[Stack]:
        """The combinations of families that the backend serves, as declared or as it says."""
        if self.subject.memory_kernel is False:
            does_not_apply(_OTHER_WAYS)
        if self.subject.families is not None:
            return list(self.subject.families)
        if not self._stacks:
            reasons = []
            for stack in STACKS:
                try:
                    await self.try_to_register(self.node(), stack)
                except CANNOT as error:
                    reasons.append(str(error))
                    continue
                except Exception:  # not about families: for B101 to tell
                    pass
                self._stacks.append(stack)
            if self.escapes:
                does_not_apply(_OTHER_WAYS)
            held(self._stacks, f"it serves no address family: {'; '.join(dict.fromkeys(reasons))}")
        return self._stacks

    async def widest(self) -> Stack:
        """The widest combination of families; ends the test where level 1 cannot judge."""
        stack = (await self.stacks())[-1]
        await self._probe(stack)
        return stack

    async def needs_kernel(self) -> Stack:
        """As ``widest``; ends the test too where there is no data plane to look at."""
        if not self.subject.dataplane:
            does_not_apply("it is declared to have no data plane")
        stack = await self.widest()
        if self._untouched:
            does_not_apply(_OTHER_WAYS)
        return stack

    async def _probe(self, stack: Stack) -> None:
        """Serve once: whether all goes through the kernel in memory, none, or nothing works."""
        if self.subject.memory_kernel:
            return
        node = self.node(250)
        error: Exception | None = None
        try:
            async with self.serving(node, stack, await self.peers(stack, 251)):
                pass
        except Broken as caught:
            error = caught
        if self.escapes:
            does_not_apply(_OTHER_WAYS)
        self._untouched = not node.kernel.sessions
        if self._untouched and error is not None:
            leave_out("it cannot be registered and run: see B101 and B201")


_OTHER_WAYS = (
    "it reaches the kernel by other ways than toolkit.open_kernel, which is what level 1 stands in"
    " for; levels 2 and 3 judge it"
)


@contextmanager
def memory_bench(subject: BackendSubject) -> Iterator[MemoryBench]:
    """A bench; within, kernels are in memory."""
    kernels: dict[str, MemoryKernel] = {}
    with memory_kernels(kernels) as escapes:
        yield MemoryBench(subject, kernels, escapes)
