"""Level 1: registering again, beside another network and without a lease; the loop stays free."""

import asyncio

from flannel_sdk.errors import FlannelError, OutOfSubnets, StoreUnavailable
from flannel_sdk.interfaces import Network
from flannel_sdk.model import Lease, LeaseAttrs
from flannel_sdk.testing.backend_kit.driving import end_of, running
from flannel_sdk.testing.backend_kit.fake_site import FakeNode, public_ips_of, subnets_of
from flannel_sdk.testing.backend_kit.memory_bench import MemoryBench, Stack, network_config
from flannel_sdk.testing.backend_kit.registering import name_of, of_families
from flannel_sdk.testing.backend_kit.state import difference, state_of
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.verdicts import Broken, held
from flannel_sdk.testing.patient_time import PatientLoop
from flannel_sdk.testing.scripted import ScriptedLeases

_SECONDS_HELD_UP = 0.5
_LIVES = 3
"""How often a life is looked at before it counts as slow: a busy machine may slow one down."""


class Again(Conformance):
    """What one process and one backend live through in months."""

    @requirement(
        "B117",
        "One backend registers again, with another configuration and another lease",
        why="An agent keeps one backend for as long as it lives, through changed configurations"
        " and lost leases.",
    )
    async def test_registers_on_one_backend(self, memory: MemoryBench) -> None:
        """For each combination of families in turn, and for another lease at last."""
        await memory.widest()
        node, stacks = memory.node(), await memory.stacks()
        backend = memory.backend(node)
        for number, stack in [*((1, stack) for stack in stacks), (21, stacks[-1])]:
            leases = ScriptedLeases(subnets_of(number, stack))
            what = f"{name_of(stack)}, registered again on the same backend"
            try:
                network = await backend.register_network(
                    network_config(memory.subject, stack), leases
                )
            except Exception as error:
                raise Broken(f"{what}: it raised {type(error).__name__}: {error}") from error
            held(leases.published, f"{what}: it did not call acquire_lease")
            wanted = of_families(public_ips_of(1), stack)
            published = leases.published[-1].public_ips
            held(published == wanted, f"{what}: it publishes {published}, not {wanted}")
            held(
                network.lease.subnets == leases.subnets,
                f"{what}: its lease is {network.lease.subnets}, not {leases.subnets}",
            )
            if number == 1:
                await self._serves(memory, node, network, stack, what)

    async def _serves(
        self, memory: MemoryBench, node: FakeNode, network: Network, stack: Stack, what: str
    ) -> None:
        peers = await memory.peers(stack, 2, 3)
        async with running(network) as run:
            await run.full(peers)
            have, wanted = state_of(node.kernel), await memory.settled(peers, stack)
            held(wanted <= have, f"{what}: {difference(have & wanted, wanted)}")

    @requirement(
        "B118",
        "What acquire_lease raises comes out of register_network, and a cancel goes into it",
        why="The agent says what is wrong with the store and tries again; a network without a"
        " lease would look healthy.",
    )
    async def test_no_lease(self, memory: MemoryBench) -> None:
        """A store that is away, one that is full, one that does not answer; then a good one."""
        stack = await memory.widest()
        node = memory.node()
        backend, config = memory.backend(node), network_config(memory.subject, stack)
        for error in (StoreUnavailable("it is away"), OutOfSubnets("all are taken")):
            try:
                await backend.register_network(config, _Refusing(error))
            except type(error):
                pass
            except Exception as other:
                raise Broken(
                    f"{type(error).__name__} of acquire_lease comes out as"
                    f" {type(other).__name__}: {other}"
                ) from other
            else:
                raise Broken(f"{type(error).__name__} of acquire_lease is swallowed")
        before = asyncio.all_tasks()
        registering = asyncio.create_task(backend.register_network(config, _Waiting()))
        await asyncio.sleep(5)
        registering.cancel()
        await end_of(registering, "register_network, waiting for a lease,")
        left = asyncio.all_tasks() - before - {registering}
        held(not left, f"a cancel while it waits for a lease leaves {len(left)} tasks: {left}")
        held(not node.kernel.open_sessions, "a connection to the kernel stays open")
        try:
            await backend.register_network(config, ScriptedLeases(node.subnets(stack)))
        except Exception as other:
            raise Broken(
                f"once there is a lease, register_network raises {type(other).__name__}: {other}"
            ) from other

    @requirement(
        "B119",
        "Networks of one process do not disturb each other",
        why="An embedder runs several networks in one process, each in a namespace of its own.",
    )
    async def test_side_by_side(self, memory: MemoryBench) -> None:
        """Two nodes with other peers, told in turn."""
        stack = await memory.needs_kernel()
        a, b, c, d = await memory.peers(stack, 3, 4, 5, 6)
        one, two = memory.node(1), memory.node(2)
        async with (
            memory.serving(one, stack, [a]) as first,
            memory.serving(two, stack, [b]) as second,
        ):
            await first.change([c])
            await memory.holds(one, [a, c], stack, "beside another network")
            await second.change([d], [b.subnets])
            await memory.holds(two, [d], stack, "beside another network")
            await first.full([a])
            await memory.holds(one, [a], stack, "after a full set beside another network")
            await memory.holds(two, [d], stack, "after a full set of another network")

    @requirement(
        "B136",
        "Nothing holds the event loop up",
        why="While it stands still no lease is renewed, no probe is answered and no other network"
        " of the process is served.",
    )
    async def test_loop_is_free(self, memory: MemoryBench) -> None:
        """The longest turn of the loop in a life from registering to a delta, at its best."""
        stack = await memory.widest()
        a, b, c = await memory.peers(stack, 2, 3, 4)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PatientLoop)
        longest = []
        for _ in range(_LIVES):
            await asyncio.sleep(0)
            loop.take_longest_turn()
            async with memory.serving(memory.node(), stack, [a, b]) as run:
                await run.change([c], [a.subnets])
            await asyncio.sleep(0)
            longest.append(loop.take_longest_turn())
            if longest[-1] < _SECONDS_HELD_UP:
                return
        held(False, f"it holds the event loop up for {min(longest):.1f} s")


class _Refusing:
    """A store's side that has no lease to give."""

    def __init__(self, error: FlannelError) -> None:
        self._error = error

    async def acquire_lease(self, attrs: LeaseAttrs) -> Lease:
        raise self._error


class _Waiting:
    """A store's side that waits for its store."""

    async def acquire_lease(self, attrs: LeaseAttrs) -> Lease:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")
