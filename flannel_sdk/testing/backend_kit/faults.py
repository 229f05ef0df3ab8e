"""Level 1: a kernel that refuses, hostile peers, and others who take things away."""

import asyncio
import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

from flannel_sdk.dataplane.requests import StrayRoute, Via
from flannel_sdk.errors import FlannelError
from flannel_sdk.model import ByFamily, Family, Lease, LeaseAttrs
from flannel_sdk.testing.backend_kit.driving import Ended, Running
from flannel_sdk.testing.backend_kit.fake_site import UNDERLAY, FakeNode, MemoryKernel
from flannel_sdk.testing.backend_kit.memory_bench import MemoryBench, Stack
from flannel_sdk.testing.backend_kit.state import State, difference, state_of
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.verdicts import Broken, does_not_apply, held

_SECONDS_TO_HEAL = 600.0
_STARTS = 5
"""How often an agent starts anew in a test before it gives up; each fault is met once."""


class Faults(Conformance):
    """What goes wrong harms as little as it can, for as short as it can."""

    @requirement(
        "B116",
        "A peer whose lease cannot be read hides only itself",
        why="Anybody who can write to the store could otherwise stop the whole cluster.",
    )
    async def test_hostile_peers(self, memory: MemoryBench) -> None:
        """One at a time, between two good ones."""
        stack = await memory.needs_kernel()
        a, b = await memory.peers(stack, 2, 3)
        wanted = await memory.settled([a, b], stack)
        for what, bad in _hostile(await memory.peer(9, stack)):
            node = memory.node()
            async with memory.serving(node, stack, [a]) as run:
                await run.full([a, bad, b])
                _keeps(node, wanted, f"beside a peer with {what}")
                await run.change([bad], [])
                await run.change([], [bad.subnets])
                _keeps(node, wanted, f"after a peer with {what} went")

    @requirement(
        "B120",
        "A request that the kernel refuses is made good, whichever it is",
        why="The kernel runs out of memory, and devices come and go while they are used; an error"
        " that is swallowed is a peer that is never reached.",
    )
    async def test_fault_at_every_request(self, memory: MemoryBench) -> None:
        """Each request of a life in turn, once as busy, once as not permitted."""
        stack = await memory.needs_kernel()
        peers = await memory.peers(stack, 2, 3, 4)
        for number in (errno.EBUSY, errno.EPERM):
            for position in count(1):
                node = memory.node()
                fault = _OneFault(position, number)
                node.kernel.fault = fault
                await self._live_through(memory, node, stack, peers, fault)
                if not fault.met:
                    break

    async def _live_through(
        self,
        memory: MemoryBench,
        node: FakeNode,
        stack: Stack,
        peers: list[Lease],
        fault: "_OneFault",
    ) -> None:
        a, b, c = peers
        wanted = await memory.settled([b, c], stack)
        for _ in range(_STARTS):
            try:
                network, _leases = await memory.try_to_register(node, stack)
            except FlannelError:
                continue
            except Exception as error:
                raise Broken(
                    f"{fault}: register_network raised {type(error).__name__}, which is no"
                    f" FlannelError: {error}"
                ) from error
            run = Running(network)
            try:
                await run.full([a, b])
                await run.change([c], [a.subnets])
                await eventually_holds(node, wanted, f"{fault}", run)
            except Ended:
                continue
            finally:
                await run.stop()
            return
        raise Broken(f"{fault}: it does not come up again")

    @requirement(
        "B121",
        "A kernel that permits nothing is told to the agent",
        why="A network that looks healthy and carries nothing costs hours to find.",
    )
    async def test_no_right(self, memory: MemoryBench) -> None:
        """Every request fails with EPERM from the start."""
        stack = await memory.needs_kernel()
        peers = await memory.peers(stack, 2, 3)
        node = memory.node()
        node.kernel.fault = lambda _: errno.EPERM
        try:
            network, _ = await memory.try_to_register(node, stack)
        except FlannelError:
            return
        except Exception as error:
            raise Broken(
                f"register_network raised {type(error).__name__}, which is no FlannelError: {error}"
            ) from error
        run = Running(network)
        try:
            await run.full(peers)
            await asyncio.sleep(_SECONDS_TO_HEAL)
            run.check()
        except Ended:
            return
        finally:
            await run.stop()
        raise Broken("neither register_network nor run raises anything")

    @requirement(
        "B122",
        "What others have put into the kernel stays",
        why="Nodes carry other networks, other tunnels and an operator's own routes.",
    )
    async def test_foreign_objects(self, memory: MemoryBench) -> None:
        """Through registering, updates, a restart with fewer peers, and a stop."""
        stack = await memory.needs_kernel()
        a, b = await memory.peers(stack, 2, 3)
        node = memory.node()
        foreign = make_foreign(node.kernel)
        for peers in ([a, b], [b], []):
            async with memory.serving(node, stack, peers) as run:
                await run.full([a])
                await asyncio.sleep(120)
                _keeps(node, foreign, "while it runs")
            _keeps(node, foreign, "after it stopped")

    @requirement(
        "B123",
        "A device that somebody deletes comes back with all that was on it",
        why="Network managers and hurried operators delete devices; nobody tells the agent.",
    )
    async def test_device_thief(self, memory: MemoryBench) -> None:
        """Each of its devices."""
        stack = await memory.needs_kernel()
        peers = await memory.peers(stack, 2, 3)
        node = memory.node()
        async with memory.serving(node, stack, peers) as run:
            wanted = state_of(node.kernel)
            devices = {link.name: link.mac for link in node.kernel.links.values()}
            del devices[UNDERLAY]
            if not devices:
                does_not_apply("it makes no device")
            for name, mac in devices.items():
                node.kernel.steal_link(name)
                await eventually_holds(node, wanted, f"after {name} was deleted", run)
                held(
                    node.kernel.links[name].mac == mac,
                    f"{name} came back with another MAC than its lease may say",
                )

    @requirement(
        "B124",
        "What somebody deletes of a peer comes back",
        why="A flush of routes or neighbours would cut the node off until its agent restarts.",
    )
    async def test_thieves(self, memory: MemoryBench) -> None:
        """Each route, neighbour and forwarding entry."""
        stack = await memory.needs_kernel()
        peers = await memory.peers(stack, 2, 3)
        node = memory.node()
        async with memory.serving(node, stack, peers) as run:
            wanted = state_of(node.kernel)
            for what, steal in list(_thefts(node.kernel)):
                steal()
                await eventually_holds(node, wanted, f"after the theft of {what}", run)


def _keeps(node: FakeNode, wanted: State, when: str) -> None:
    have = state_of(node.kernel)
    held(wanted <= have, f"{when}: {difference(have & wanted, wanted)}")


class _OneFault:
    """Lets one request fail."""

    def __init__(self, position: int, number: int) -> None:
        self.position, self.number = position, number
        self.seen = 0
        self.request = ""

    @property
    def met(self) -> bool:
        """True once it has failed one."""
        return self.seen >= self.position

    def __call__(self, name: str) -> int | None:
        self.seen += 1
        if self.seen != self.position:
            return None
        self.request = name
        return self.number

    def __str__(self) -> str:
        return (
            f"request {self.position} ({self.request}) failed with {errno.errorcode[self.number]}"
        )


async def eventually_holds(node: FakeNode, wanted: State, when: str, run: Running) -> None:
    """Wait until the kernel holds ``wanted``; Broken if it never does."""
    for _ in range(int(_SECONDS_TO_HEAL)):
        if state_of(node.kernel) == wanted:
            return
        run.check()
        await asyncio.sleep(1)
    have = state_of(node.kernel)
    held(have == wanted, f"{when}: after {_SECONDS_TO_HEAL:.0f} s {difference(have, wanted)}")


def _hostile(peer: Lease) -> Iterator[tuple[str, Lease]]:
    attrs = peer.attrs
    texts = ("null", "{}", "[]", '"x"', "7", '{"VNI":1,"VtepMAC":"zz"}', '{"a":' * 50)
    for text in texts:
        data: ByFamily[str] = ByFamily()
        for family in peer.subnets.families:
            data = data.with_value(family, text)
        yield f"backend data {text[:24]}", replace(peer, attrs=replace(attrs, backend_data=data))
    yield "no attributes", replace(peer, attrs=LeaseAttrs(ByFamily()))
    yield "another backend", replace(peer, attrs=replace(attrs, backend_type="another"))
    for family in peer.subnets.families:
        gone = ByFamily(*(None if one is family else peer.subnets.get(one) for one in Family))
        if gone.families:
            yield f"no {family}", replace(peer, subnets=gone)


def make_foreign(kernel: MemoryKernel) -> State:
    """Objects of others: devices with all that hangs on them, routes, addresses; as lines."""
    before = state_of(kernel)
    kernel.add_link("foreign0")
    underlay, other = (kernel.links[name].ifindex for name in (UNDERLAY, "foreign0"))
    gateway = bytes([192, 0, 2, 200])
    for index, network in ((underlay, 66), (other, 67)):
        kernel.add_stray(StrayRoute(bytes([10, network, 0, 0]), 16, 4, 0, 0, 0, index, gateway))
        slot = (bytes([10, network, 1, 0]), 24, 0)
        kernel.route_rows[slot] = Via(index, gateway)  # of another network of ours
    kernel.rows_by_index[other] = {bytes([10, 67, 0, 1]): b"\x02\0\0\0\0\x01"}
    kernel.fdb_by_index[other] = {b"\x02\0\0\0\0\x01": gateway}
    kernel.addresses_by_index[other] = {(bytes([10, 67, 0, 2]), 24)}
    kernel.addresses_by_index[underlay] = {(bytes([192, 0, 2, 1]), 24)}
    return state_of(kernel) - before


def _thefts(kernel: MemoryKernel) -> Iterator[tuple[str, Callable[[], None]]]:
    for slot in list(kernel.route_rows):
        yield f"the route {slot[0].hex()}/{slot[1]}", lambda slot=slot: kernel.steal_route(slot)  # type: ignore[misc]  # bound now
    for index, rows in kernel.rows_by_index.items():
        for address in list(rows):
            yield "a neighbour", lambda i=index, a=address: kernel.steal_neighbour(i, a)  # type: ignore[misc]  # bound now
    for index, rows in kernel.fdb_by_index.items():
        for mac in list(rows):
            yield "a forwarding entry", lambda i=index, m=mac: kernel.steal_fdb(i, m)  # type: ignore[misc]  # bound now
