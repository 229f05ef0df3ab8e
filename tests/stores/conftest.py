"""Both embedded stores behind one factory."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from flannel_sdk.stores import memory, sqlite
from flannel_sdk.stores.manager import EmbeddedSubnetManager
from tests.stores.nodes import IPV4

OpenStore = Callable[..., EmbeddedSubnetManager]


@pytest.fixture(params=["memory", "sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def open_store(kind: str, tmp_path: Path) -> AsyncGenerator[OpenStore]:
    """Opens managers of one and the same, still empty, store; closed after the test."""
    name = uuid4().hex
    opened: list[EmbeddedSubnetManager] = []

    def open_one(ttl: float = 86400.0) -> EmbeddedSubnetManager:
        if kind == "memory":
            manager = memory.plugin.open(memory.MemoryOptions(name, ttl))
        else:
            manager = sqlite.plugin.open(sqlite.SqliteOptions(str(tmp_path / "net.db"), ttl))
        opened.append(manager)
        return manager

    yield open_one
    for manager in opened:
        await manager.aclose()


@pytest.fixture
async def store(open_store: OpenStore) -> EmbeddedSubnetManager:
    """A manager of a store with an IPv4 network."""
    manager = open_store()
    await manager.put_network_config(IPV4)
    return manager
