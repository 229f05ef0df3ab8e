"""A lab whose nodes are those of a real API server, which they reach through the lab's router."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from flannel_sdk.lab import Lab, LabNames, LabSpec
from flannel_sdk.lab.names import UNDERLAY_LINK, netns_path
from flannel_sdk.lab.node_files import NodeFiles
from flannel_sdk.model import Family
from flannel_sdk.netns import run_in_netns
from plugins.etcd.tests.certificates import NAMES, Authority, ServerFiles
from plugins.etcd.tests.proxy import Proxy
from plugins.kube.tests.api_control import listed, mapping
from plugins.kube.tests.apiserver import ApiServer

ROUTER = str(LabSpec().router_addresses(1)[0].address)
FOREIGN = {"example.com/foreign": "kept", "node.alpha.kubernetes.io/ttl": "0"}
STEM = "flannel.alpha.coreos.com/"
POD_CIDRS = {Family.IPV4: "10.5.{}.0/24", Family.IPV6: "fd05:0:0:{}::/64"}


class RouterAuthority(Authority):
    """Its servers' certificates are for the lab's router too."""

    def server(
        self, *names: str, label: str = "server", seconds: float | None = None
    ) -> ServerFiles:
        return super().server(*(names or (*NAMES, ROUTER)), label=label, seconds=seconds)


class RouterProxy(Proxy):
    """Listens in the namespace of a lab's router, as soon as that is there."""

    def __init__(self, port: int, netns: str) -> None:
        super().__init__(port)
        self._netns = netns
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "RouterProxy":
        return self

    def open(self) -> None:
        """Take connections from now on; idempotent."""
        if self._listening is None:
            address = (ROUTER, 0)
            listener = run_in_netns(self._netns, lambda: socket.create_server(address))
            self.port = listener.getsockname()[1]
            self._listening = asyncio.create_task(self._listen(listener))

    async def _listen(self, listener: socket.socket) -> None:
        self._server = await asyncio.start_server(self._link, sock=listener)


class KubeCluster:
    """A lab and its API server. Node ``N`` of the lab is the Node object ``node-N``."""

    def __init__(self, server: ApiServer, spec: LabSpec, names: LabNames, folder: Path) -> None:
        self.server, self.spec, self.folder = server, spec, folder
        self.proxy = RouterProxy(server.port, netns_path(names.router))
        self.net_conf = folder / "net-conf.json"
        self.net_conf.write_text(spec.network_config())
        self._service_account = server.service_account()
        self._lab: Lab | None = None

    @property
    def lab(self) -> Lab:
        assert self._lab is not None
        return self._lab

    @lab.setter
    def lab(self, lab: Lab) -> None:
        self._lab = lab

    def command(self, spec: LabSpec, files: NodeFiles) -> Sequence[str]:
        """A node's daemon as flanneld would be called: odd ones as pods, others by kubeconfig."""
        self.proxy.open()
        name, flags = f"node-{files.number}", []
        told = {"NODE_NAME": name, "FLANNELD_NET_CONFIG_PATH": str(self.net_conf)}
        if files.number % 2:
            told["FLANNELD_KUBE_SUBNET_MGR"] = "true"
            told["KUBERNETES_SERVICE_HOST"] = ROUTER
            told["KUBERNETES_SERVICE_PORT"] = str(self.proxy.port)
            flags = ["--store-option", f"service-account={self._service_account}"]
        else:
            url = f"https://{ROUTER}:{self.proxy.port}"
            kubeconfig = self.server.kubeconfig(url=url)
            flags = ["--kube-subnet-mgr", "--kubeconfig-file", str(kubeconfig)]
        return [
            *("env", *(f"{key}={text}" for key, text in told.items())),
            *(sys.executable, "-P", "-m", "flannel_sdk.cli", "daemon", *flags),
            *("--iface", UNDERLAY_LINK),
            *("--subnet-file", str(files.subnet_file)),
            *("--status-socket", str(files.status_socket)),
        ]

    def pod_cidrs(self, number: int) -> list[str]:
        """What a controller manager would assign to a node."""
        return [POD_CIDRS[family].format(number) for family in self.spec.families.members]

    def add_node(self, number: int, *pod_cidrs: str) -> None:
        """The Node object as its kubelet registers it, with annotations of others."""
        self.server.control.add_node(f"node-{number}", *pod_cidrs, annotations=FOREIGN)

    def annotations(self, number: int) -> Mapping[str, object]:
        """All that its Node object has."""
        node = self.server.control.get_node(f"node-{number}")
        return mapping(mapping(node["metadata"]).get("annotations") or {})

    def conditions(self, number: int) -> dict[str, Mapping[str, object]]:
        """By their types."""
        node = self.server.control.get_node(f"node-{number}")
        return {str(c["type"]): c for c in listed(mapping(node["status"]), "conditions")}


@asynccontextmanager
async def kube_cluster(
    server: ApiServer, spec: LabSpec, names: LabNames, folder: Path
) -> AsyncIterator[KubeCluster]:
    """It is up, with as many nodes as the spec says; its Node objects go with it."""
    cluster = KubeCluster(server, spec, names, folder)
    for number in range(1, spec.nodes + 1):
        cluster.add_node(number, *cluster.pod_cidrs(number))
    async with cluster.proxy:
        cluster.lab = await Lab.up(
            spec, instance=names.instance, directory=folder / "lab", command=cluster.command
        )
        try:
            yield cluster
        finally:
            await cluster.lab.down()
    server.restore()
    assert not os.path.exists(folder / "lab")
