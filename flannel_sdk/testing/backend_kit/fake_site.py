"""Nodes on kernels in memory, which stand in for ``toolkit.open_kernel``'s."""

import asyncio
import errno
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NoReturn, cast
from unittest import mock

from flannel_sdk import netns as netns_module
from flannel_sdk.dataplane import Device, LinuxKernel, Ownership, ResolvedRoute
from flannel_sdk.dataplane import thread as thread_module
from flannel_sdk.dataplane.requests import Failure, Operation
from flannel_sdk.errors import KernelRefused, PermanentError
from flannel_sdk.interfaces import BackendContext
from flannel_sdk.model import (
    ByFamily,
    ExternalInterface,
    Family,
    IPAddress,
    MacAddress,
    Prefix,
    Subnets,
)
from flannel_sdk.testing.fake_kernel import FakeKernel
from flannel_sdk.toolkit import session as session_module

UNDERLAY = "eth0"


class MemoryKernel(FakeKernel):
    """A FakeKernel that counts its users, notes what is taken away, and can be stuck."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions = 0
        self.open_sessions = 0
        self.writes = 0
        self.taken: list[str] = []
        """What was removed while it was there, in order."""
        self.stuck = False
        """True: no request is ever answered."""

    def submit(self, operations: Sequence[Operation]) -> "asyncio.Future[list[Failure]]":
        """As ``FakeKernel.submit``."""
        if self.stuck:
            return asyncio.get_running_loop().create_future()
        self.writes += sum(len(operation.rows) for operation in operations)
        before = self._count()
        answer = super().submit(operations)
        if self._count() < before:
            kinds = [f"{one.verb} {one.kind}" for one in operations if one.verb == "remove"]
            self.taken.append(", ".join(kinds))
        return answer

    async def make_device(self, device: Device, lower: int | None) -> None:
        """As ``FakeKernel.make_device``."""
        self.writes += 1
        await super().make_device(device, lower)

    async def change_link(self, index: int, *, up: bool, mtu: int, mac: MacAddress | None) -> None:
        """As ``FakeKernel.change_link``."""
        self.writes += 1
        await super().change_link(index, up=up, mtu=mtu, mac=mac)

    async def remove_link(self, index: int) -> None:
        """As ``FakeKernel.remove_link``."""
        self.writes += 1
        names = [link.name for link in self.links.values() if link.ifindex == index]
        await super().remove_link(index)
        self.taken += [f"remove device {name}" for name in names]

    async def lookup_routes(self, addresses: Sequence[IPAddress]) -> dict[IPAddress, ResolvedRoute]:
        """Whatever is on the underlay's link is reached directly."""
        self._check("lookup_routes")
        return {
            address: ResolvedRoute(UNDERLAY, None, 1)
            for address in addresses
            if UNDERLAY in self.links and any(net.covers(address) for net in UNDERLAYS)
        }

    def _count(self) -> int:
        tables = [*self.rows_by_index.values(), *self.fdb_by_index.values()]
        addresses = sum(map(len, self.addresses_by_index.values()))
        return sum(map(len, tables)) + addresses + len(self.route_rows) + len(self.strays)


UNDERLAYS = (Prefix.parse("192.0.2.0/24"), Prefix.parse("2001:db8::/64"))


class _Connection:
    """What a backend gets for a LinuxKernel: one session of a MemoryKernel."""

    def __init__(self, kernel: MemoryKernel) -> None:
        self._kernel = kernel
        kernel.sessions += 1
        kernel.open_sessions += 1
        self._open = True

    async def aclose(self) -> None:
        """As ``LinuxKernel.aclose``."""
        if self._open:
            self._open = False
            self._kernel.open_sessions -= 1
            await self._kernel.unsubscribe()

    def __getattr__(self, name: str) -> object:
        kernel = self._kernel
        if kernel.stuck and name not in {"submit", "unsubscribe", "listen_for_objects"}:
            return _never
        return getattr(kernel, name)


async def _never(*_: object, **__: object) -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("unreachable")


class FakeNode:
    """One node: a kernel in memory with an underlay interface, and addresses as they are given."""

    def __init__(self, number: int, *, mtu: int = 1500, kernel: MemoryKernel | None = None) -> None:
        self.number = number
        self.mtu = mtu
        self.kernel = kernel or MemoryKernel()
        if UNDERLAY not in self.kernel.links:
            self.kernel.add_link(UNDERLAY)
            link = self.kernel.links[UNDERLAY]
            self.kernel.links[UNDERLAY] = link._replace(mtu=mtu)

    @property
    def path(self) -> str:
        """The network namespace that a backend is told to work in; it does not exist."""
        return f"/run/netns/flannel-sdk-kit-memory-{id(self.kernel)}"

    def subnets(self, families: Sequence[Family]) -> Subnets:
        """The subnets that this node leases."""
        return subnets_of(self.number, families)

    def context(self) -> BackendContext:
        """What a backend on this node is made with."""
        own = public_ips_of(self.number)
        index = self.kernel.links[UNDERLAY].ifindex
        return BackendContext(ExternalInterface(UNDERLAY, index, self.mtu, own, own), self.path)


def public_ips_of(number: int) -> ByFamily[IPAddress]:
    """A node's addresses on the underlay."""
    return ByFamily(IPAddress.parse(f"192.0.2.{number}"), IPAddress.parse(f"2001:db8::{number}"))


def subnets_of(number: int, families: Sequence[Family]) -> Subnets:
    """A node's lease."""
    both = ByFamily(Prefix.parse(f"10.5.{number}.0/24"), Prefix.parse(f"fd00:5:0:{number}::/64"))
    return ByFamily(
        both.ipv4 if Family.IPV4 in families else None,
        both.ipv6 if Family.IPV6 in families else None,
    )


class Escapes(list[str]):
    """Namespaces in memory that a backend tried to enter by itself."""


@contextmanager
def memory_kernels(nodes: dict[str, MemoryKernel]) -> Iterator[Escapes]:
    """Within, ``toolkit.open_kernel`` opens these kernels, by the path of their namespace."""
    escapes = Escapes()
    held: set[tuple[str, str]] = set()
    real_hold = session_module._hold_in

    def connect(netns: str | None = None, *, notice_buffer: int = 8 << 20) -> LinuxKernel:
        kernel = nodes.get(netns or "")
        if kernel is None:
            return LinuxKernel(netns, notice_buffer=notice_buffer)
        return cast("LinuxKernel", _Connection(kernel))

    async def hold(netns: str | None, ownership: Ownership) -> ExitStack:
        if netns not in nodes:
            return await real_hold(netns, ownership)
        return _held(netns, ownership, held)

    real_enter = netns_module.enter_netns

    def enter(path: str) -> None:
        if path in nodes:
            escapes.append(path)
            raise PermanentError(f"no network namespace at {path}: it is in memory only")
        real_enter(path)

    with (
        mock.patch.object(session_module, "LinuxKernel", connect),
        mock.patch.object(session_module, "_hold_in", hold),
        mock.patch.object(netns_module, "enter_netns", enter),
        mock.patch.object(thread_module, "enter_netns", enter),
    ):
        yield escapes


def _held(netns: str, ownership: Ownership, held: set[tuple[str, str]]) -> ExitStack:
    with ExitStack() as stack:
        for subject in [*ownership.devices, *map(str, ownership.networks)]:
            if (netns, subject) in held:
                raise KernelRefused(f"another agent serves {subject} in {netns}", errno.EBUSY)
            held.add((netns, subject))
            stack.callback(held.discard, (netns, subject))
        return stack.pop_all()
