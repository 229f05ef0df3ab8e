"""The kube store passes the store kit on a real API server, connected to it through a proxy."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from flannel_sdk_kube import KubeOptions
from flannel_sdk_kube.manager import KubeSubnetManager

from flannel_sdk.model import Lease
from flannel_sdk.testing import SubnetManagerConformance
from flannel_sdk.testing.store_kit import CanExpire, CanGiveAway, OpenHarness, StoreHarness
from plugins.etcd.tests.proxy_thread import ProxyThread, proxy_thread
from plugins.kube.tests.apiserver import ApiServer
from plugins.kube.tests.store.site import written

pytestmark = pytest.mark.server


class KubeHarness:
    """A cluster; the managers' connections go through the proxy, the hand's do not."""

    def __init__(self, server: ApiServer, proxy: ProxyThread, folder: Path) -> None:
        self.server = server
        self.proxy = proxy
        self.path = folder / "net-conf.json"
        self.through = server.kubeconfig(url=proxy.url("https"))
        self.past = server.kubeconfig()
        self.is_cut = False
        self.nodes: set[int] = set()

    async def open(self, node: int = 1) -> KubeSubnetManager:
        name = f"n{node}"
        if node not in self.nodes:
            self.nodes.add(node)
            await asyncio.to_thread(self.server.control.add_node, name, f"10.5.{node}.0/24")
        return KubeSubnetManager(
            KubeOptions(
                node_name=name,
                net_config_path=self.path,
                kubeconfig=self.past if self.is_cut else self.through,
            )
        )

    async def configure(self, document: str) -> None:
        self.path.write_text(document)

    async def take_away(self, lease: Lease) -> None:
        assert lease.subnets.ipv4 is not None
        number = lease.subnets.ipv4.address[2]
        self.nodes.remove(number)
        await asyncio.to_thread(self.server.control.delete_node, f"n{number}")

    async def put_garbage(self) -> None:
        await asyncio.to_thread(
            self.server.control.add_node, "n9", "10.5.9.0/24", annotations=written("no address")
        )

    async def remove_garbage(self) -> None:
        await asyncio.to_thread(self.server.control.delete_node, "n9")

    async def break_connections(self) -> None:
        await asyncio.to_thread(self.proxy.cut)

    async def pause_watches(self) -> None:
        self.is_cut = True  # who comes from now on goes past the proxy
        await asyncio.to_thread(self.proxy.refuse)

    async def forget_and_resume(self) -> None:
        await asyncio.to_thread(self.server.compact)
        await asyncio.to_thread(self.proxy.heal)

    def connections(self) -> int:
        return self.proxy.open_connections


class TestKube(SubnetManagerConformance):
    subnet_manager = "kube"
    options: ClassVar[Mapping[str, str]] = {"node-name": "n1", "kubeconfig": "/nonexistent"}
    assigned_by = "Kubernetes"
    without: ClassVar[Mapping[type, str]] = {
        CanExpire: "a lease of Kubernetes has no end",
        CanGiveAway: "a Node object is nobody else's",
    }

    @pytest.fixture
    def open_harness(self, nocache_apiserver: ApiServer, tmp_path: Path) -> Iterator[OpenHarness]:
        with proxy_thread(nocache_apiserver.port) as proxy:

            @asynccontextmanager
            async def opened() -> AsyncIterator[StoreHarness]:
                yield KubeHarness(nocache_apiserver, proxy, tmp_path)

            yield opened
