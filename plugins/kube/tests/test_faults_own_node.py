"""Our own node on the real server: what is written, what stays, and what is lost and regained."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flannel_sdk.errors import ConfigError, LeaseLost, StoreUnavailable
from flannel_sdk.testing.waiting import eventually
from plugins.kube.tests.api_control import Json, listed, mapping
from plugins.kube.tests.apiserver import ApiServer
from plugins.kube.tests.members import (
    ADDRESS,
    ADDRESS6,
    DATA,
    DATA6,
    DUAL,
    MANAGED,
    STEM,
    TYPE,
    Members,
    vxlan,
)
from plugins.kube.tests.node_objects import realistic_node

pytestmark = pytest.mark.server

PUBLISHED = {
    MANAGED: "true",
    TYPE: "vxlan",
    DATA: '{"VNI":1,"VtepMAC":"12:c6:65:89:b4:01"}',
    ADDRESS: "192.0.2.1",
}


@pytest.fixture
async def members(apiserver: ApiServer, tmp_path: Path) -> AsyncIterator[Members]:
    async with Members(apiserver, tmp_path) as made:
        yield made


@pytest.fixture
async def dual(apiserver: ApiServer, tmp_path: Path) -> AsyncIterator[Members]:
    async with Members(apiserver, tmp_path, DUAL) as made:
        yield made


def annotations(server: ApiServer, name: str = "a") -> dict[str, object]:
    return dict(mapping(mapping(server.control.get_node(name)["metadata"]).get("annotations", {})))


def conditions(server: ApiServer, name: str = "a") -> dict[str, Json]:
    status = mapping(server.control.get_node(name)["status"])
    return {str(one["type"]): one for one in listed(status, "conditions")}


def version(server: ApiServer, name: str = "a") -> object:
    return mapping(server.control.get_node(name)["metadata"])["resourceVersion"]


async def test_what_is_written_is_flannel_s_and_nothing_else_changes(members: Members) -> None:
    server = members.server
    body = realistic_node("a", 1)
    labels = mapping(body["metadata"])["labels"]
    body["metadata"] = {"name": "a", "labels": labels, "annotations": {"example.com/theirs": "1"}}
    body["spec"] = {"podCIDR": "10.5.1.0/24", "podCIDRs": ["10.5.1.0/24"], "unschedulable": True}
    before = dict(server.control.create_node(body))
    a = members.member("a")
    lease = await a.store.acquire_lease(vxlan(1))
    assert str(lease.subnets.ipv4) == "10.5.1.0/24"
    assert lease.expires_at is None
    await a.store.network_ready(lease)
    assert annotations(server) == PUBLISHED | {"example.com/theirs": "1"}
    after = dict(server.control.get_node("a"))
    assert after["spec"] == before["spec"]
    assert mapping(after["metadata"])["labels"] == mapping(before["metadata"])["labels"]
    ready = conditions(server).pop("NetworkUnavailable")
    assert (ready["status"], ready["reason"]) == ("False", "FlannelIsUp")
    old, new = dict(mapping(before["status"])), dict(mapping(after["status"]))
    kept = {str(one["type"]): one for one in listed(old, "conditions")}
    assert conditions(server) == kept | {"NetworkUnavailable": ready}
    del old["conditions"], new["conditions"]
    assert new == old


async def test_nothing_is_written_where_nothing_differs(members: Members) -> None:
    server = members.server
    server.control.add_node("a", "10.5.1.0/24")
    a = members.member("a")
    lease = await a.store.acquire_lease(vxlan(1))
    before = version(server)
    await a.store.renew_lease(lease)
    await a.store.acquire_lease(vxlan(1), lease.subnets)
    assert await members.member("a").store.acquire_lease(vxlan(1)) == lease
    assert version(server) == before


async def test_a_pod_cidr_that_comes_late_is_waited_for(
    members: Members, caplog: pytest.LogCaptureFixture
) -> None:
    server = members.server
    a = members.member("a")
    with pytest.raises(StoreUnavailable, match="There is no node a"):
        await a.store.acquire_lease(vxlan(1))
    server.control.add_node("a")
    with pytest.raises(StoreUnavailable, match="no IPv4 pod CIDR yet"):
        await a.store.acquire_lease(vxlan(1))
    holding = asyncio.create_task(_hold(members, "a"))
    await eventually(lambda: "pod CIDR" in caplog.text, "said")
    server.control.assign_pod_cidrs("a", "10.5.7.0/24")
    assert await asyncio.wait_for(holding, 20) == "10.5.7.0/24"


async def _hold(members: Members, name: str) -> str:
    async with members.member(name).kept(vxlan(1)) as keeper:
        return str(keeper.lease.subnets.ipv4)


async def test_a_pod_cidr_of_another_network_names_both(members: Members) -> None:
    members.server.control.add_node("a", "10.99.1.0/24")
    with pytest.raises(
        ConfigError, match=r"10\.99\.1\.0/24 .* not inside the network 10\.5\.0\.0/16"
    ):
        await members.member("a").store.acquire_lease(vxlan(1))


async def test_a_dual_stack_node_publishes_both(dual: Members) -> None:
    dual.server.control.add_node("a", "10.5.1.0/24", "fd05:0:0:1::/64")
    lease = await dual.member("a").store.acquire_lease(vxlan(1, dual=True))
    assert [str(subnet) for subnet in lease.subnets] == ["10.5.1.0/24", "fd05:0:0:1::/64"]
    both = {DATA6: PUBLISHED[DATA], ADDRESS6: "2001:db8::1"}
    assert annotations(dual.server) == PUBLISHED | both


async def test_a_family_that_is_assigned_late_is_waited_for(dual: Members) -> None:
    dual.server.control.add_node("a", "10.5.1.0/24")
    with pytest.raises(StoreUnavailable, match="no IPv6 pod CIDR yet"):
        await dual.member("a").store.acquire_lease(vxlan(1, dual=True))


async def test_annotations_that_somebody_wiped_come_back(members: Members) -> None:
    server = members.server
    server.control.add_node("a", "10.5.1.0/24", annotations={"example.com/theirs": "1"})
    async with members.member("a").kept(vxlan(1)):
        server.control.annotate("a", {ADDRESS: "192.0.2.99"})
        await eventually(lambda: annotations(server)[ADDRESS] == "192.0.2.1", "put right", 20)
        server.control.annotate("a", dict.fromkeys(PUBLISHED))
        await eventually(
            lambda: annotations(server) == PUBLISHED | {"example.com/theirs": "1"}, "put back", 20
        )
        server.control.patch(
            "/api/v1/nodes/a", {"metadata": {"annotations": None}}, "application/merge-patch+json"
        )
        await eventually(lambda: annotations(server) == PUBLISHED, "put back into nothing", 30)


@pytest.mark.parametrize("cidr", ["10.5.1.0/24", "10.5.2.0/24"])
async def test_a_node_made_again_is_ours_again(members: Members, cidr: str) -> None:
    server = members.server
    server.control.add_node("a", "10.5.1.0/24")
    a = members.member("a")
    async with a.kept(vxlan(1)) as keeper:
        await a.store.network_ready(keeper.lease)
        server.control.delete_node("a")
        server.control.add_node("a")
        server.control.assign_pod_cidrs("a", cidr)
        await eventually(lambda: annotations(server) == PUBLISHED, "published again", 30)
        await eventually(lambda: str(keeper.lease.subnets.ipv4) == cidr, "held again", 30)
        await eventually(lambda: "NetworkUnavailable" in conditions(server), "told ready", 30)


async def test_a_lease_of_a_deleted_node_is_lost(members: Members) -> None:
    server = members.server
    server.control.add_node("a", "10.5.1.0/24")
    a = members.member("a")
    lease = await a.store.acquire_lease(vxlan(1))
    server.control.delete_node("a")
    with pytest.raises(LeaseLost, match="node a, whose lease it is, is gone"):
        await a.store.renew_lease(lease)
    server.control.add_node("a", "10.5.2.0/24")
    with pytest.raises(LeaseLost, match=r"made again: its pod CIDR is 10\.5\.2\.0/24"):
        await a.store.renew_lease(lease)


async def test_what_an_operator_overwrites_is_published(members: Members) -> None:
    server = members.server
    server.control.add_node("a", "10.5.1.0/24")
    async with members.member("a").kept(vxlan(1)) as keeper:
        server.control.annotate("a", {f"{ADDRESS}-overwrite": "203.0.113.1"})
        await eventually(lambda: annotations(server)[ADDRESS] == "203.0.113.1", "published", 20)
        before = version(server)
        assert str(keeper.lease.attrs.public_ips.ipv4) == "192.0.2.1"
        server.control.annotate("a", {f"{ADDRESS}-overwrite": None})
        await eventually(lambda: annotations(server)[ADDRESS] == "192.0.2.1", "taken back", 20)
        assert int(str(version(server))) <= int(str(before)) + 2, "a contest with itself"


async def test_an_operator_s_addresses_are_read(members: Members) -> None:
    stored = {f"{STEM}node-public-ip": "198.51.100.1", f"{STEM}node-public-ipv6": "2001:db8::1"}
    members.server.control.add_node("a", "10.5.1.0/24", annotations=stored)
    found = await members.member("a").store.stored_public_ips()
    assert [str(address) for address in found] == ["198.51.100.1", "2001:db8::1"]
    members.server.control.annotate("a", {f"{STEM}node-public-ip": "no address"})
    with pytest.raises(ConfigError, match="node-public-ip is 'no address'"):
        await members.member("a").store.stored_public_ips()


@pytest.mark.slow
async def test_a_server_that_restarts_meanwhile_is_waited_out(members: Members) -> None:
    server = members.server
    server.control.add_node("a", "10.5.1.0/24")
    async with members.member("a").kept(vxlan(1)):
        server.kill()
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(server.wait_ready)
        server.control.annotate("a", dict.fromkeys(PUBLISHED))
        await eventually(lambda: annotations(server) == PUBLISHED, "put back", 40)
