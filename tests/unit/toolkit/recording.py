"""A kernel that only remembers what it was told."""

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from flannel_sdk.dataplane import KernelObject, LinuxKernel, Ownership, Reconciler, ResolvedRoute
from flannel_sdk.dataplane.observed import LinkState
from flannel_sdk.interfaces import PlannedChange
from flannel_sdk.model import IPAddress, MacAddress
from flannel_sdk.toolkit import KernelSession


class RecordingKernel(LinuxKernel):
    def __init__(self) -> None:
        self.ways: dict[IPAddress, ResolvedRoute] = {}
        self.lookups: list[set[IPAddress]] = []
        self.links: dict[str, LinkState] = {}

    def latency(self) -> Mapping[str, object]:
        return {}

    async def lookup_routes(self, addresses: Sequence[IPAddress]) -> dict[IPAddress, ResolvedRoute]:
        self.lookups.append(set(addresses))
        return {ip: self.ways[ip] for ip in addresses if ip in self.ways}

    async def link(self, name: str) -> LinkState | None:
        return self.links.get(name)

    async def remove_link(self, index: int) -> None:
        self.links = {n: link for n, link in self.links.items() if link.ifindex != index}


class RecordingReconciler(Reconciler):
    def __init__(self) -> None:
        self.node: list[KernelObject] = []
        self.peers: dict[Hashable, Sequence[KernelObject]] = {}
        self.updates = 0
        self._underlay_asked = asyncio.Event()
        self._underlay_changed = asyncio.Event()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.macs: dict[str, MacAddress] = {}

    async def set_node(self, objects: Sequence[KernelObject]) -> None:
        self.node = list(objects)

    async def device_mac(self, name: str) -> MacAddress:
        return self.macs[name]

    async def update(
        self,
        changed: Iterable[tuple[Hashable, Sequence[KernelObject]]],
        removed: Iterable[Hashable] = (),
        *,
        full: bool,
    ) -> None:
        if full:
            self.peers.clear()
        for peer in removed:
            self.peers.pop(peer, None)
        for peer, objects in changed:
            self.peers[peer] = objects
        self.updates += 1

    async def run(self) -> None:
        await self.failure

    async def wait_underlay_change(self) -> None:
        self._underlay_asked.set()
        await self._underlay_changed.wait()
        self._underlay_changed.clear()

    async def change_underlay(self) -> None:
        """Returns when the network has done with it and asks for the next change."""
        self._underlay_asked.clear()
        self._underlay_changed.set()
        await self._underlay_asked.wait()

    async def plan(self) -> list[PlannedChange]:
        return [PlannedChange("add", "route", "10.5.2.0/24")]

    def status(self) -> Mapping[str, object]:
        return {"written": self.updates}


class RecordingSessions:
    """Stands for ``open_kernel``; the same recorders in every session."""

    def __init__(self) -> None:
        self.kernel = RecordingKernel()
        self.reconciler = RecordingReconciler()
        self.opened = 0
        self.closed = 0

    @asynccontextmanager
    async def open(self, netns: str | None, ownership: Ownership) -> AsyncIterator[KernelSession]:
        self.opened += 1
        try:
            yield KernelSession(self.kernel, self.reconciler)
        finally:
            self.closed += 1
