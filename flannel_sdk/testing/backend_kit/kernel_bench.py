"""The bench of levels 2 and 3: the backend on real kernels, in namespaces of its own."""

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from flannel_sdk.errors import FlannelError, KernelUnsupported, RetryableError
from flannel_sdk.interfaces import Network
from flannel_sdk.model import ByFamily, Lease, Subnets
from flannel_sdk.testing import namespaces
from flannel_sdk.testing.backend_kit.driving import Running, running
from flannel_sdk.testing.backend_kit.kernel_state import kernel_state
from flannel_sdk.testing.backend_kit.memory_bench import CANNOT, STACKS, Stack, network_config
from flannel_sdk.testing.backend_kit.state import State, difference
from flannel_sdk.testing.backend_kit.subject import BackendSubject
from flannel_sdk.testing.kit.verdicts import Broken, does_not_apply, held, leave_out
from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.testing.overlay import Node, underlay
from flannel_sdk.testing.scripted import ScriptedLeases

_SECONDS_TO_REGISTER = 5.0


@functools.cache
def _missing_right() -> str | None:
    namespaces.remove_orphans()
    return namespaces.missing_right()


@dataclass
class KernelBench:
    """Makes nodes, and registers and runs the backend on them."""

    subject: BackendSubject
    patience: float = 20.0
    """Seconds that something may take to be made good."""
    _made: list[Namespace] = field(default_factory=list)
    _peers: dict[tuple[int, Stack], Lease] = field(default_factory=dict)
    _settled: dict[tuple[object, ...], State] = field(default_factory=dict)
    _stacks: list[Stack] = field(default_factory=list)

    def namespace(self, label: str) -> Namespace:
        """A fresh one, removed at the end."""
        if (reason := _missing_right()) is not None:
            leave_out(f"{reason}; run it as root (sudo) for levels 2 and 3")
        self._made.append(namespaces.create(label))
        return self._made[-1]

    def node(self, number: int = 1) -> Node:
        """A node that is alone on its underlay."""
        netns = self.namespace(f"node{number}")
        node = Node(number, netns, netns)
        node.plug_alone()
        return node

    def two_nodes(self) -> tuple[Node, Node]:
        """Two on one underlay, each with a pod."""
        one, two = underlay(self.namespace)
        return one, two

    async def try_to_register(self, node: Node, stack: Stack) -> tuple[Network, ScriptedLeases]:
        """As an agent does; whatever goes wrong is raised as it is."""
        subnets: Subnets = ByFamily()
        for family in stack:
            subnets = subnets.with_value(family, node.subnets.get(family))
        leases = ScriptedLeases(subnets)
        backend = self.subject.plugin.create(node.context())
        config = network_config(self.subject, stack)
        return await backend.register_network(config, leases), leases

    async def register(self, node: Node, stack: Stack) -> Network:
        """A network on this node; Broken if it cannot be registered, tried again for 5 s."""
        deadline = asyncio.get_running_loop().time() + _SECONDS_TO_REGISTER
        while True:
            try:
                network, _ = await self.try_to_register(node, stack)
            except KernelUnsupported as error:
                leave_out(f"this kernel cannot do it: {error}")
            except Exception as error:
                late = asyncio.get_running_loop().time() > deadline
                if late or not isinstance(error, RetryableError):
                    told = f"register_network raised {type(error).__name__}: {error}"
                    raise Broken(told) from error
                await asyncio.sleep(0.05)
            else:
                return network

    @asynccontextmanager
    async def serving(
        self, node: Node, stack: Stack, peers: Sequence[Lease] | None = None
    ) -> AsyncIterator[Running]:
        """A registered network that runs within, and holds ``peers`` unless that is None."""
        async with running(await self.register(node, stack)) as run:
            if peers is not None:
                await run.full(peers)
            yield run

    async def settled(self, peers: Sequence[Lease], stack: Stack) -> State:
        """What a fresh node 1 holds that is told of ``peers`` all at once."""
        key = (*peers, stack)
        if key not in self._settled:
            node = self.node()
            async with self.serving(node, stack, peers):
                self._settled[key] = kernel_state(node.netns)
        return self._settled[key]

    async def holds(self, node: Node, peers: Sequence[Lease], stack: Stack, when: str) -> None:
        """Broken unless the node holds what a fresh one would."""
        have, wanted = kernel_state(node.netns), await self.settled(peers, stack)
        held(have == wanted, f"{when}: {difference(have, wanted)}")

    async def heals(self, node: Node, wanted: State, when: str, run: Running) -> None:
        """Wait until the kernel holds ``wanted``; Broken if it does not soon enough."""
        deadline = asyncio.get_running_loop().time() + self.patience
        while (have := kernel_state(node.netns)) != wanted:
            run.check()
            late = asyncio.get_running_loop().time() > deadline
            held(not late, f"{when}: after {self.patience:g} s {difference(have, wanted)}")
            await asyncio.sleep(0.05)

    async def peers(self, stack: Stack, *numbers: int) -> list[Lease]:
        """What other nodes publish, found by registering the backend there."""
        for number in numbers:
            if (number, stack) not in self._peers:
                node = self.node(number)
                network = await self.register(node, stack)
                self._peers[number, stack] = Lease(network.lease.subnets, network.lease.attrs, 2e9)
        return [self._peers[number, stack] for number in numbers]

    async def stacks(self) -> list[Stack]:
        """The combinations of families that the backend serves, as declared or as it says."""
        if self.subject.families is not None:
            return list(self.subject.families)
        if not self._stacks:
            for stack in STACKS:
                try:
                    await self.try_to_register(self.node(), stack)
                except CANNOT:
                    continue
                except (FlannelError, OSError):  # not about families: for B201 to tell
                    pass
                self._stacks.append(stack)
        held(self._stacks, "it serves no address family")
        return self._stacks

    async def widest(self) -> Stack:
        """Both families if the backend serves them together."""
        return (await self.stacks())[-1]

    async def needs_dataplane(self) -> Stack:
        """End the test unless the backend has one; else the widest stack."""
        if not self.subject.dataplane:
            does_not_apply("it is declared to have no data plane")
        return await self.widest()

    def clean_up(self) -> None:
        """Remove all namespaces."""
        for netns in self._made:
            namespaces.delete(netns)


@contextmanager
def kernel_bench(subject: BackendSubject, *, patience: float = 20.0) -> Iterator[KernelBench]:
    """A bench; what it made is gone afterwards."""
    bench = KernelBench(subject, patience)
    try:
        yield bench
    finally:
        bench.clean_up()
