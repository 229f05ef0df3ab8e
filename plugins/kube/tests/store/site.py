"""One cluster, a fake one or a real one: managers of its nodes, and a hand on its objects."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from flannel_sdk_kube import KubeOptions
from flannel_sdk_kube.manager import KubeSubnetManager

from flannel_sdk.model import ByFamily, Family, IPAddress, LeaseAttrs, Prefix, Subnets
from flannel_sdk.testing.waiting import eventually
from plugins.kube.tests.api_control import Json, listed, mapping
from plugins.kube.tests.apiserver import ApiServer
from plugins.kube.tests.fake_client import FakeCluster, FakeNodeClient
from plugins.kube.tests.node_objects import node as node_object

STEM = "flannel.alpha.coreos.com/"
IPV4 = '{"Network":"10.3.0.0/16","Backend":{"Type":"vxlan"}}'
DUAL = '{"Network":"10.3.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}'
IPV6 = '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48"}'


class Site(Protocol):
    """What tests do to a cluster; all of it is as the owner of the cluster might."""

    path: Path
    """Of net-conf.json."""

    def open(self, own: str = "own", **options: object) -> KubeSubnetManager: ...
    async def add(
        self, name: str, *pod_cidrs: str, annotations: Mapping[str, str] | None = None
    ) -> None: ...
    async def delete(self, name: str) -> None: ...
    async def assign(self, name: str, *pod_cidrs: str) -> None: ...
    async def annotate(self, name: str, annotations: Mapping[str, str | None]) -> None: ...
    async def heartbeat(self, name: str) -> None: ...
    async def object(self, name: str) -> Json: ...


class _Common:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "net-conf.json"
        self.path.write_text(IPV4)
        self.stack = AsyncExitStack()

    def options(self, own: str, **options: object) -> KubeOptions:
        given = {"node_name": own, "net_config_path": self.path} | options
        return KubeOptions(**given)  # type: ignore[arg-type]  # the tests' own

    def keep(self, made: KubeSubnetManager) -> KubeSubnetManager:
        """It is closed after the test."""
        self.stack.push_async_callback(made.aclose)
        return made


class FakeSite(_Common):
    """Its managers' clients can be told to fail."""

    def __init__(self, folder: Path, stem: str = STEM) -> None:
        super().__init__(folder)
        self.cluster = FakeCluster()
        self.client = FakeNodeClient(self.cluster, stem)
        """Of the manager that was opened last."""

    def open(self, own: str = "own", **options: object) -> KubeSubnetManager:
        made = self.options(own, **options)
        self.client = FakeNodeClient(self.cluster, made.annotation_stem, own)
        return self.keep(KubeSubnetManager(made, client=self.client))

    async def add(
        self, name: str, *pod_cidrs: str, annotations: Mapping[str, str] | None = None
    ) -> None:
        self.cluster.add_node(name, *pod_cidrs, annotations=annotations)

    async def delete(self, name: str) -> None:
        self.cluster.delete_node(name)

    async def assign(self, name: str, *pod_cidrs: str) -> None:
        self.cluster.assign_pod_cidrs(name, *pod_cidrs)

    async def annotate(self, name: str, annotations: Mapping[str, str | None]) -> None:
        self.cluster.annotate(name, annotations)

    async def heartbeat(self, name: str) -> None:
        ready = listed(mapping(node_object(name)["status"]), "conditions")
        self.cluster.patch_status(name, {"status": {"conditions": ready}})

    async def object(self, name: str) -> Json:
        return self.cluster.objects[name]


class RealSite(_Common):
    """An API server, of which managers are users with flannel's own role."""

    def __init__(self, folder: Path, server: ApiServer) -> None:
        super().__init__(folder)
        self._server = server
        self._kubeconfig = server.kubeconfig()

    def open(self, own: str = "own", **options: object) -> KubeSubnetManager:
        given: dict[str, object] = {"kubeconfig": self._kubeconfig} | options
        return self.keep(KubeSubnetManager(self.options(own, **given)))

    async def add(
        self, name: str, *pod_cidrs: str, annotations: Mapping[str, str] | None = None
    ) -> None:
        made = node_object(name, *pod_cidrs, annotations=annotations)
        await asyncio.to_thread(self._server.control.create_node, made)

    async def delete(self, name: str) -> None:
        await asyncio.to_thread(self._server.control.delete_node, name)

    async def assign(self, name: str, *pod_cidrs: str) -> None:
        await asyncio.to_thread(self._server.control.assign_pod_cidrs, name, *pod_cidrs)

    async def annotate(self, name: str, annotations: Mapping[str, str | None]) -> None:
        await asyncio.to_thread(self._server.control.annotate, name, annotations)

    async def heartbeat(self, name: str) -> None:
        await asyncio.to_thread(self._server.control.heartbeat, name)

    async def object(self, name: str) -> Json:
        return await asyncio.to_thread(self._server.control.get_node, name)


@asynccontextmanager
async def fake_site(folder: Path) -> AsyncIterator[FakeSite]:
    site = FakeSite(folder)
    async with site.stack:
        yield site


@asynccontextmanager
async def real_site(folder: Path, server: ApiServer) -> AsyncIterator[RealSite]:
    site = RealSite(folder, server)
    before = _sockets()
    async with site.stack:
        yield site
    # A connection says goodbye in TLS after it was closed, for which the loop has to go on.
    await eventually(lambda: not _sockets() - before, "all connections are closed")


def _sockets() -> set[str]:
    """Those that this process has open, by inode."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(os.readlink(entry))
    return {target for target in found if target.startswith("socket:")}


def annotations_of(node: Json) -> Json:
    return mapping(mapping(node["metadata"]).get("annotations", {}))


def conditions_of(node: Json) -> dict[str, Json]:
    return {str(one["type"]): one for one in listed(mapping(node["status"]), "conditions")}


def published(node: Json) -> dict[str, object]:
    """Flannel's annotations of a node, without their prefix."""
    return {
        name.removeprefix(STEM): value
        for name, value in annotations_of(node).items()
        if name.startswith(STEM)
    }


def written(public_ip: str = "192.168.0.9", **more: str | None) -> dict[str, str]:
    """What a node with vxlan publishes; ``public_ip_overwrite=..`` and so on set and remove."""
    texts: dict[str, str | None] = {
        "backend-data": '{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}',
        "backend-type": "vxlan",
        "kube-subnet-manager": "true",
        "public-ip": public_ip,
    }
    texts |= {name.replace("_", "-"): value for name, value in more.items()}
    return {STEM + name: value for name, value in texts.items() if value is not None}


def address4(number: int) -> IPAddress:
    return IPAddress.from_int(0xC0A80000 + number, Family.IPV4)


def vxlan(number: int = 1, mac: str = "c6:d2:32:6f:8f:44") -> LeaseAttrs:
    """What node ``number``, 192.168.0.``number``, publishes."""
    return LeaseAttrs(ByFamily(address4(number)), "vxlan", ByFamily(data(mac)))


def vxlan_dual(number: int = 1) -> LeaseAttrs:
    ipv6 = IPAddress.parse(f"fd00::{number:x}")
    both = ByFamily(data("c6:d2:32:6f:8f:44"), data("c6:d2:32:6f:8f:66"))
    return LeaseAttrs(ByFamily(address4(number), ipv6), "vxlan", both)


def data(mac: str) -> str:
    return f'{{"VNI":1,"VtepMAC":"{mac}"}}'


def subnets(text: str) -> Subnets:
    """``10.3.1.0/24``, ``10.3.1.0/24 fc00::/64``."""
    made: Subnets = ByFamily()
    for part in text.split():
        prefix = Prefix.parse(part)
        made = made.with_value(prefix.family, prefix)
    return made
