"""An agent on the memory store with a backend that only remembers."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from flannel_sdk.agent import AgentOptions, InterfaceRequest, NodeAgent, open_store
from flannel_sdk.interfaces import (
    Backend,
    BackendContext,
    LeaseAcquirer,
    PeerFeed,
    SubnetManager,
    SupportsConfigWrite,
)
from flannel_sdk.model import (
    ByFamily,
    IPAddress,
    Lease,
    LeaseAttrs,
    NetworkConfig,
    Subnets,
)

_numbers = itertools.count()
CONFIG = '{"Network": "10.5.0.0/16", "Backend": {"Type": "recording"}}'
PUBLIC = ByFamily(IPAddress.parse("192.0.2.1"))


class Recording:
    """Backend, Network and BackendManager in one: remembers what it was told, fails as told."""

    mtu = 1400

    def __init__(self) -> None:
        self.events: list[str] = []
        self.configs: list[NetworkConfig] = []
        """Those that it was registered with."""
        self.register_failures: list[Exception] = []
        self.run_failures: list[Exception] = []
        self.peers: dict[Subnets, Lease] = {}
        self.lease: Lease

    def available(self) -> Sequence[str]:
        return ["recording"]

    async def get_backend(self, backend_type: str) -> Backend:
        self.events.append(f"get {backend_type}")
        return self

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> "Recording":
        self.events.append("register")
        if self.register_failures:
            raise self.register_failures.pop(0)
        self.lease = await leases.acquire_lease(LeaseAttrs(PUBLIC, config.backend_type))
        self.configs.append(config)
        return self

    async def retire(self, successor: object) -> None:
        self.events.append("retire")

    async def run(self, peers: PeerFeed) -> None:
        self.events.append("run")
        if self.run_failures:
            raise self.run_failures.pop(0)
        async with aclosing(peers.updates()) as updates:
            async for update in updates:
                if self.run_failures:
                    raise self.run_failures.pop(0)
                if update.full:
                    self.peers.clear()
                for gone in update.removed:
                    self.peers.pop(gone, None)
                self.peers.update((peer.subnets, peer) for peer in update.changed)


@asynccontextmanager
async def network(document: str | None = CONFIG) -> AsyncIterator[SubnetManager]:
    store = open_store("memory", {"name": f"agent-{next(_numbers)}"})
    assert isinstance(store, SupportsConfigWrite)
    if document is not None:
        await store.put_network_config(document)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def running(agent: NodeAgent) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(agent.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def make(store: SubnetManager, backend: Recording, folder: Path | None = None) -> NodeAgent:
    def backends(context: BackendContext) -> Recording:
        backend.events.append(f"interface {context.interface.name}")
        return backend

    subnet_file = folder / "subnet.env" if folder else None
    return NodeAgent(store, AgentOptions(InterfaceRequest("eth7"), subnet_file), backends=backends)


def first_host(lease: Lease) -> str:
    assert lease.subnets.ipv4 is not None
    return str(lease.subnets.ipv4.host(1))


def peer(number: int) -> LeaseAttrs:
    return LeaseAttrs(ByFamily(IPAddress.parse(f"192.0.2.{number}")), "recording")
