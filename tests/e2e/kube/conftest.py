"""Clusters of our daemons around a real API server, one for each kind of network."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from flannel_sdk.lab import Families, LabNames, LabSpec
from flannel_sdk.lab.names import OWNED_VARIABLE
from flannel_sdk.lab.processes import ownership_mark, processes_marked
from flannel_sdk.model import Family
from plugins.kube.tests.apiserver import ApiServer, ApiSetup, start_apiserver
from plugins.kube.tests.conftest import apiserver_program
from tests.e2e.conftest import INSTANCE
from tests.e2e.kube.cluster import KubeCluster, RouterAuthority, kube_cluster

__all__ = ["apiserver_program"]

SPECS = {
    "vxlan": LabSpec(nodes=2),
    "vxlan-dual": LabSpec(nodes=2, families=Families.DUAL),
    "host-gw-dual": LabSpec(nodes=2, backend="host-gw", families=Families.DUAL),
}


@pytest.fixture(scope="session")
def router_apiserver(
    apiserver_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    """An API server whose certificate is good for clients behind a lab's router."""
    authority = RouterAuthority(tmp_path_factory.mktemp("authority"))
    server = start_apiserver(ApiSetup(apiserver_program, authority))
    yield server
    server.release()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SPECS)
async def cluster(
    request: pytest.FixtureRequest,
    kernel_lacks: dict[str, str],
    router_apiserver: ApiServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[KubeCluster]:
    """Tests leave it with two nodes, their daemons running and their pods connected."""
    spec = SPECS[request.param]
    needs = {"veth", "bridge", spec.backend}
    if Family.IPV6 in spec.families.members:
        needs.add("IPv6")
    for need in sorted(needs & kernel_lacks.keys()):
        pytest.skip(f"this kernel lacks {need}: {kernel_lacks[need]}")
    names, folder = LabNames(INSTANCE), tmp_path_factory.mktemp("kube")
    async with kube_cluster(router_apiserver, spec, names, folder) as made:
        mark = ownership_mark(made.lab.directory)
        yield made
        for number in made.lab.state.nodes:
            log = made.lab.files(number).log_tail(1000)
            assert "Traceback" not in log, f"the daemon of node {number} said:\n{log}"
    assert names.leftovers() == []
    assert processes_marked(OWNED_VARIABLE, mark) == []
