"""A lab's namespaces on a real kernel: wired, addressed, forwarding, replaced and removed."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flannel_sdk.lab.iproute import ip_output
from flannel_sdk.lab.names import LabNames, netns_path
from flannel_sdk.lab.ping import Pod, ping_all
from flannel_sdk.lab.spec import Families, LabSpec
from flannel_sdk.lab.topology import attach_pod, make_nodes, make_underlay, remove_namespaces
from flannel_sdk.model import Prefix
from flannel_sdk.netns import run_in_netns

pytestmark = pytest.mark.root
SPEC = LabSpec(nodes=2, subnets=2, families=Families.DUAL)
POD_GATEWAYS = [Prefix.parse("10.5.1.1/24"), Prefix.parse("fd05:0:0:1::1/64")]


@pytest.fixture
async def names(lab_rights: None) -> AsyncIterator[LabNames]:
    made = LabNames(f"t{os.getpid()}")
    try:
        yield made
    finally:
        await remove_namespaces(made.leftovers())


async def links(netns: str) -> dict[str, dict[str, object]]:
    found = json.loads(await ip_output(["-j", "link"], netns=netns))
    return {link["ifname"]: link for link in found}


async def test_nodes_reach_each_other_through_the_router_at_once(names: LabNames) -> None:
    """On two underlay subnets, in both families."""
    await make_underlay(names, SPEC)
    await make_nodes(names, SPEC, [1, 2])
    nodes = [
        Pod(n, netns_path(names.node(n)), tuple(a.address for a in SPEC.underlay_addresses(n)))
        for n in (1, 2)
    ]
    assert (await ping_all(nodes, timeout=5)).complete
    for node in nodes:
        for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            path = Path("/proc/sys/net", key)
            assert run_in_netns(node.netns, path.read_text).strip() == "1"
    assert names.leftovers() == sorted(
        [names.router, *(f(n) for n in (1, 2) for f in (names.node, names.pod))]
    )


async def test_a_pod_gets_the_addresses_after_its_gateways_and_a_second_call_replaces_it(
    names: LabNames,
) -> None:
    await make_underlay(names, SPEC)
    await make_nodes(names, SPEC, [1])
    for mtu, gateways in ((1450, [Prefix.parse("10.5.9.1/24")]), (1400, POD_GATEWAYS)):
        pods = await attach_pod(names, 1, gateways, mtu)
        assert [str(pod) for pod in pods] == [
            str(Prefix(gateway.host(2), gateway.length)) for gateway in gateways
        ]
    found = await links(names.pod(1))
    assert found.keys() == {"lo", "eth0"}
    assert found["eth0"]["mtu"] == 1400
    assert (await links(names.node(1)))["cni0"]["mtu"] == 1400
    shown = await ip_output(["-j", "address", "show", "dev", "eth0"], netns=names.pod(1))
    addresses = json.loads(shown)
    assert {"10.5.1.2", "fd05:0:0:1::2"} <= {a["local"] for a in addresses[0]["addr_info"]}
    pod = Pod(0, netns_path(names.pod(1)), tuple(p.address for p in pods))
    node_addresses = tuple(a.address for a in SPEC.underlay_addresses(1))
    node = Pod(1, netns_path(names.node(1)), node_addresses)
    assert (await ping_all([pod, node], timeout=5)).complete


async def test_what_is_removed_is_gone_and_what_is_gone_is_passed_over(names: LabNames) -> None:
    spec = LabSpec(nodes=1)
    await make_underlay(names, spec)
    await make_nodes(names, spec, [1])
    await remove_namespaces([names.pod(9), *names.leftovers(), names.router])
    assert names.leftovers() == []


async def test_nodes_come_and_go_and_the_router_keeps_its_mac(names: LabNames) -> None:
    """A bridge left alone takes the lowest of its ports: the others' neighbour entries go stale."""

    async def macs() -> list[object]:
        found = await links(names.router)
        return [found[f"br{subnet}"]["address"] for subnet in (1, 2)]

    await make_underlay(names, SPEC)
    before = await macs()
    await make_nodes(names, SPEC, [1, 2, 3, 4])
    assert await macs() == before
    await remove_namespaces([names.node(1), names.node(2)])
    assert await macs() == before
    assert len(set(before)) == 2
