"""Two of our daemons on a real API server: connected, repaired, undisturbed."""

import asyncio
import json
from collections.abc import Callable
from functools import partial

import pytest

from flannel_sdk.lab import ProbeStream, probing
from flannel_sdk.lab.status_client import ask_daemon
from flannel_sdk.model import Family
from flannel_sdk.testing.waiting import eventually
from tests.e2e.kube.cluster import FOREIGN, STEM, KubeCluster

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.asyncio(loop_scope="module"),
]

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after each test: the cluster's own fixture checks after the last."""


async def assert_connected(cluster: KubeCluster) -> None:
    matrix = await cluster.lab.wait_connected(PATIENCE)
    assert matrix.complete, f"silent: {matrix.silent}"


async def until(arrived: Callable[[], bool], what: str) -> None:
    await eventually(arrived, what, PATIENCE)


async def status(cluster: KubeCluster, number: int) -> dict[str, object]:
    answer = await ask_daemon(cluster.lab.files(number).status_socket, "status")
    assert answer is not None
    return dict(answer)


def is_published(cluster: KubeCluster, number: int) -> bool:
    """All of flannel's annotations are there."""
    found = cluster.annotations(number)
    wanted = {"kube-subnet-manager", "backend-type"}
    if Family.IPV4 in cluster.spec.families.members:
        wanted |= {"backend-data", "public-ip"}
    if Family.IPV6 in cluster.spec.families.members:
        wanted |= {"backend-v6-data", "public-ipv6"}
    return {f"{STEM}{name}" for name in wanted} <= found.keys()


def is_available(cluster: KubeCluster, number: int) -> bool:
    found = cluster.conditions(number).get("NetworkUnavailable", {})
    return (found.get("status"), found.get("reason")) == ("False", "FlannelIsUp")


async def answered(stream: ProbeStream, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        await stream.wait_answered(count)


async def test_all_pods_answer_and_nodes_say_what_flannel_says(cluster: KubeCluster) -> None:
    await assert_connected(cluster)
    for number in cluster.lab.state.nodes:
        found = cluster.annotations(number)
        assert found[f"{STEM}kube-subnet-manager"] == "true"
        assert found[f"{STEM}backend-type"] == cluster.spec.backend
        addresses = [str(p.address) for p in cluster.spec.underlay_addresses(number)]
        published = [found.get(f"{STEM}public-ip"), found.get(f"{STEM}public-ipv6")]
        assert published[: len(addresses)] == addresses
        data = json.loads(str(found[f"{STEM}backend-data"]))
        assert data is None if cluster.spec.backend == "host-gw" else data["VNI"] == 1
        assert {key: found[key] for key in FOREIGN} == FOREIGN
        await until(partial(is_available, cluster, number), "the condition")
        assert cluster.conditions(number)["Ready"]["status"] == "True"
        pods = [str(prefix.masked()) for prefix in cluster.lab.node(number).pod_addresses]
        assert pods == cluster.pod_cidrs(number)
        assert str((await status(cluster, number))["store"]).startswith("kube:")


async def test_a_node_that_is_deleted_and_made_again_is_joined_again(cluster: KubeCluster) -> None:
    """With the same pod CIDRs, as when a kubelet registers it anew."""
    await assert_connected(cluster)
    control = cluster.server.control
    control.delete_node("node-1")
    cluster.add_node(1, *cluster.pod_cidrs(1))
    await until(lambda: is_published(cluster, 1), "the annotations are back")
    await until(lambda: is_available(cluster, 1), "the condition is back")
    await assert_connected(cluster)
    assert {key: cluster.annotations(1)[key] for key in FOREIGN} == FOREIGN


async def test_other_pod_cidrs_are_another_lease(cluster: KubeCluster) -> None:
    await assert_connected(cluster)
    other = [cidr.replace(".1.", ".77.").replace(":1:", ":77:") for cidr in cluster.pod_cidrs(1)]
    cluster.server.control.delete_node("node-1")
    cluster.add_node(1, *other)

    def has(wanted: list[str]) -> bool:
        found = cluster.lab.files(1).read_subnet_file()
        return found is not None and [str(p.masked()) for p in found.gateways] == wanted

    await until(lambda: has(other), "subnet.env has the new subnets")
    await cluster.lab.stop_daemon(1)
    await cluster.lab.start_daemon(1)  # what wires the pod
    await assert_connected(cluster)
    cluster.server.control.delete_node("node-1")
    cluster.add_node(1, *cluster.pod_cidrs(1))
    await until(lambda: has(cluster.pod_cidrs(1)), "subnet.env has the old subnets")
    await cluster.lab.stop_daemon(1)
    await cluster.lab.start_daemon(1)
    await assert_connected(cluster)


async def test_annotations_that_somebody_removes_come_back(cluster: KubeCluster) -> None:
    await assert_connected(cluster)
    ours = [name for name in cluster.annotations(2) if name.startswith(STEM)]
    cluster.server.control.annotate("node-2", dict.fromkeys(ours))
    await until(lambda: is_published(cluster, 2), "the annotations are back")
    await assert_connected(cluster)
    assert {key: cluster.annotations(2)[key] for key in FOREIGN} == FOREIGN


async def test_the_api_server_goes_and_comes_without_a_lost_packet(cluster: KubeCluster) -> None:
    """Killed, then cut off; then a node joins, so the watches work again."""
    await assert_connected(cluster)
    family = cluster.spec.families.members[0]
    lab = cluster.lab
    async with probing(lab.pod(1), lab.pod(2), family=family, interval=0.005) as stream:
        await answered(stream, 20)
        await asyncio.to_thread(cluster.server.kill)
        await answered(stream, 200)
        await asyncio.to_thread(cluster.server.start)
        await asyncio.to_thread(cluster.server.wait_ready)
        cluster.proxy.refuse()
        await answered(stream, 100)
        cluster.proxy.heal()
        # it has no pod CIDR at first, which its daemon waits for
        joining = asyncio.create_task(lab.add_node())
        cluster.add_node(3)
        log = lab.files(3).log_tail
        await until(lambda: "pod CIDR" in log(50), "node 3 says what it waits for")
        cluster.server.control.assign_pod_cidrs("node-3", *cluster.pod_cidrs(3))
        assert await joining == 3
        await answered(stream, 100)
    assert stream.report.lost == (), stream.report.to_json()
    await assert_connected(cluster)
    await lab.remove_node(3)
    cluster.server.control.delete_node("node-3")
    await until_peers(cluster, 1)
    await assert_connected(cluster)


async def until_peers(cluster: KubeCluster, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        for number in cluster.lab.state.nodes:
            while True:
                feed = (await status(cluster, number))["feed"]
                if isinstance(feed, dict) and (feed["peers"], feed["settled"]) == (count, True):
                    break
                await asyncio.sleep(0.02)
