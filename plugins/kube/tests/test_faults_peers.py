"""Other nodes on the real server: honest ones are followed, others harm themselves alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.proxy import OpenProxy
from plugins.kube.tests.api_control import Json
from plugins.kube.tests.apiserver import ApiServer
from plugins.kube.tests.fake_api import FakeApi
from plugins.kube.tests.members import (
    ADDRESS,
    ADDRESS6,
    DATA,
    DATA6,
    DUAL,
    MANAGED,
    TYPE,
    Members,
    vxlan,
)
from plugins.kube.tests.node_objects import flannel_annotations

pytestmark = pytest.mark.server


@pytest.fixture
async def members(apiserver: ApiServer, tmp_path: Path) -> AsyncIterator[Members]:
    async with Members(apiserver, tmp_path) as made:
        yield made


def add(server: ApiServer, name: str, cidr: str, address: str, **changed: str) -> None:
    """A node of a flanneld."""
    server.control.add_node(name, cidr, annotations=flannel_annotations(address) | changed)


async def test_nodes_of_ours_and_of_flanneld_s_find_each_other(members: Members) -> None:
    server = members.server
    add(server, "flanneld", "10.5.3.0/24", "192.0.2.3")
    server.control.add_node("a", "10.5.1.0/24")
    server.control.add_node("b", "10.5.2.0/24")
    server.control.add_node("not-managed", "10.5.4.0/24")
    a, b = members.member("a"), members.member("b")
    own = await a.store.acquire_lease(vxlan(1))
    async with a.peers(own) as peers:
        assert peers.addresses() == {"10.5.3.0/24": "192.0.2.3"}
        await b.store.acquire_lease(vxlan(2))
        with_b = {"10.5.3.0/24": "192.0.2.3", "10.5.2.0/24": "192.0.2.2"}
        await eventually(lambda: peers.addresses() == with_b, "b")
        server.control.annotate("flanneld", {ADDRESS: "192.0.2.33"})
        await eventually(lambda: peers.addresses()["10.5.3.0/24"] == "192.0.2.33", "its move")
        server.control.annotate("flanneld", {MANAGED: None})
        await eventually(lambda: "10.5.3.0/24" not in peers.addresses(), "its retreat")
        server.control.delete_node("b")
        await eventually(lambda: peers.addresses() == {}, "b's end")
        assert peers.refused == {"refused": {}, "malformed": 0}
        assert peers.snapshots == 1


async def test_heartbeats_are_no_news(members: Members) -> None:
    server = members.server
    server.control.add_node("a", "10.5.1.0/24")
    add(server, "b", "10.5.2.0/24", "192.0.2.2")
    a = members.member("a")
    async with a.peers(await a.store.acquire_lease(vxlan(1))) as peers:
        for _ in range(20):
            server.control.heartbeat("b")
            server.control.annotate("b", {"example.com/theirs": str(_)})
        add(server, "c", "10.5.3.0/24", "192.0.2.3")
        await eventually(lambda: "10.5.3.0/24" in peers.addresses(), "c")
        assert peers.deltas == 1


@pytest.mark.parametrize(("data", "address"), [(DATA, ADDRESS), (DATA6, ADDRESS6)])
async def test_a_change_of_one_family_is_told(
    data: str, address: str, apiserver: ApiServer, tmp_path: Path
) -> None:
    async with Members(apiserver, tmp_path, DUAL) as members:
        apiserver.control.add_node("a", "10.5.1.0/24", "fd05:0:0:1::/64")
        apiserver.control.add_node("b", "10.5.2.0/24", "fd05:0:0:2::/64")
        a, b = members.member("a"), members.member("b")
        own = await a.store.acquire_lease(vxlan(1, dual=True))
        await b.store.acquire_lease(vxlan(2, dual=True))
        async with a.peers(own) as peers:
            new = {data: '{"VNI":1,"VtepMAC":"12:c6:65:89:b4:ff"}'}
            new[address] = "192.0.2.22" if address == ADDRESS else "2001:db8::22"
            apiserver.control.annotate("b", new)
            await eventually(lambda: peers.deltas, "told")
            (lease,) = peers.feed.peers()
            index = 0 if address == ADDRESS else 1
            assert str(lease.attrs.public_ips[index]) == new[address]
            assert lease.attrs.backend_data[index] == new[data]
            assert lease.attrs.backend_data[1 - index] == vxlan(2).backend_data.ipv4


async def test_a_peer_made_again_with_another_subnet_moves(members: Members) -> None:
    server = members.server
    server.control.add_node("a", "10.5.1.0/24")
    add(server, "b", "10.5.2.0/24", "192.0.2.2")
    a = members.member("a")
    async with a.peers(await a.store.acquire_lease(vxlan(1))) as peers:
        server.control.delete_node("b")
        add(server, "b", "10.5.3.0/24", "192.0.2.2")
        await eventually(lambda: peers.addresses() == {"10.5.3.0/24": "192.0.2.2"}, "its move")


# What is wrong with a node's entry, and how the node would be put right.
HOSTILE: dict[str, dict[str, str]] = {
    "bad-json": {DATA: '{"VNI":1,"VtepMAC":'},
    "two-values": {DATA: '{"VNI":1}{"VNI":2}'},
    "deep-json": {DATA: "[" * 20_000},
    "no-address": {ADDRESS: "somewhere"},
    "wrong-family": {ADDRESS: "2001:db8::1"},
    "large-address": {ADDRESS: "1" * 200_000},
    "large-data": {DATA: json.dumps({"VNI": 1, "x": "x" * 200_000})},
    "control": {ADDRESS: "192.0.2.9\n\x1b[2J"},
}


async def test_entries_that_cannot_be_read_harm_nobody(
    members: Members, caplog: pytest.LogCaptureFixture
) -> None:
    server = members.server
    server.control.add_node("a", "10.5.1.0/24")
    add(server, "honest", "10.5.2.0/24", "192.0.2.2")
    for number, (name, wrong) in enumerate(HOSTILE.items(), 10):
        add(server, name, f"10.5.{number}.0/24", f"192.0.2.{number}", **wrong)
    a = members.member("a")
    async with a.peers(await a.store.acquire_lease(vxlan(1))) as peers:
        assert peers.addresses() == {"10.5.2.0/24": "192.0.2.2"}
        assert peers.refused == {"refused": {}, "malformed": len(HOSTILE)}
        for number, name in enumerate(HOSTILE, 10):
            named = [r.getMessage() for r in caplog.records if f"entry {name}:" in r.getMessage()]
            assert len(named) == 1, name
            assert len(named[0]) < 500
            assert named[0].isprintable()
            server.control.annotate(name, dict(flannel_annotations(f"192.0.2.{number}")))
        everybody = {f"10.5.{n}.0/24": f"192.0.2.{n}" for n in (2, *range(10, 10 + len(HOSTILE)))}
        await eventually(lambda: peers.addresses() == everybody, "all put right")
        assert peers.refused == {"refused": {}, "malformed": 0}


async def test_claims_to_what_others_have_are_refused(
    members: Members, caplog: pytest.LogCaptureFixture
) -> None:
    server = members.server
    server.control.add_node("a", "10.5.1.0/24")
    add(server, "honest", "10.5.2.0/24", "192.0.2.2")
    a = members.member("a")
    async with a.peers(await a.store.acquire_lease(vxlan(1))) as peers:
        honest = {"10.5.2.0/24": "192.0.2.2"}
        add(server, "same-subnet", "10.5.2.0/24", "192.0.2.66")
        add(server, "our-subnet", "10.5.1.0/24", "192.0.2.67")
        add(server, "our-address", "10.5.3.0/24", "192.0.2.1")
        add(server, "whole-network", "10.5.0.0/16", "192.0.2.68")
        add(server, "outside", "172.31.0.0/24", "192.0.2.69")
        add(server, "default-route", "0.0.0.0/0", "192.0.2.70")
        add(server, "last", "10.5.5.0/24", "192.0.2.5")
        await eventually(lambda: "10.5.5.0/24" in peers.addresses(), "the last")
        assert peers.addresses() == honest | {"10.5.5.0/24": "192.0.2.5"}
        counted = peers.refused
        assert isinstance(counted["refused"], dict)
        assert isinstance(counted["malformed"], int)
        assert counted["malformed"] + sum(counted["refused"].values()) == 6
        warnings = [r.getMessage() for r in caplog.records if "ignoring" in r.getMessage()]
        assert len(warnings) == 6
        # who was there first has gone: the other one may have it
        server.control.delete_node("honest")
        await eventually(lambda: peers.addresses()["10.5.2.0/24"] == "192.0.2.66", "the heir")


async def test_what_no_real_server_lets_in_harms_nobody(
    members: Members, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async with FakeApi() as fake:
        members.server.control.add_node("unused")
        await fake.put("a", "10.5.1.0/24")
        await fake.put("honest", "10.5.2.0/24", annotations=flannel_annotations("192.0.2.2"))
        three = ("10.5.3.0/24", "fd05::/64", "10.5.4.0/24")
        await fake.put("three-cidrs", *three, annotations=flannel_annotations("192.0.2.3"))
        await fake.put("no-cidr", "10.5.x.0/24", annotations=flannel_annotations("192.0.2.4"))
        large: dict[str, str] = flannel_annotations("192.0.2.5", '"' + "x" * 1_000_000 + '"')
        await fake.put("large", "10.5.5.0/24", annotations=large)
        number: Json = flannel_annotations("192.0.2.6") | {TYPE: 7}
        await fake.put("number", "10.5.6.0/24", annotations=number)  # type: ignore[arg-type]  # the point
        a = members.member("a", url=fake.url)
        async with a.peers(await a.store.acquire_lease(vxlan(1))) as peers:
            assert peers.addresses() == {"10.5.2.0/24": "192.0.2.2"}
            assert peers.refused == {"refused": {}, "malformed": 4}
            await fake.put("late", "10.5.7.0/24", annotations=flannel_annotations("192.0.2.7"))
            await eventually(lambda: "10.5.7.0/24" in peers.addresses(), "a later one")
        assert sum("ignoring" in record.getMessage() for record in caplog.records) == 4


async def test_peers_stay_over_a_gap_in_which_the_history_went(
    nocache_apiserver: ApiServer, tmp_path: Path, open_proxy: OpenProxy
) -> None:
    server = nocache_apiserver
    async with Members(server, tmp_path) as members:
        server.control.add_node("a", "10.5.1.0/24")
        for number in range(2, 12):
            add(server, f"n{number}", f"10.5.{number}.0/24", f"192.0.2.{number}")
        proxy = await open_proxy(server.port)
        a = members.member("a", url=f"https://127.0.0.1:{proxy.port}")
        async with a.peers(await a.store.acquire_lease(vxlan(1))) as peers:
            before = peers.addresses()
            proxy.refuse()
            server.control.delete_node("n2")
            server.control.annotate("n3", {ADDRESS: "192.0.2.33"})
            add(server, "n12", "10.5.12.0/24", "192.0.2.12")
            await asyncio.to_thread(server.compact)
            assert peers.addresses() == before
            proxy.heal()
            after = before | {"10.5.3.0/24": "192.0.2.33", "10.5.12.0/24": "192.0.2.12"}
            del after["10.5.2.0/24"]
            await eventually(lambda: peers.addresses() == after, "the differences", 30)
            assert (peers.snapshots, peers.deltas) == (1, 1)
