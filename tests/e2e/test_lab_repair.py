"""Whatever of ours is taken away or turned comes back, and so does the traffic."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TypeVar

import pytest

from flannel_sdk.lab import Lab, LabError, probing
from flannel_sdk.lab.iproute import ip_batch, ip_output
from tests.stopwatch import Stopwatch

T = TypeVar("T")
PATIENCE = 10.0
WITHIN = 1.0
"""Seconds until all pairs must answer again."""

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

vxlan = pytest.mark.parametrize("lab", ["vxlan-ipv4"], indirect=True, scope="module")
direct = pytest.mark.parametrize(
    "lab", ["vxlan-direct-dual-two-subnets"], indirect=True, scope="module"
)

DAMAGE = {
    "device deleted": ["link delete flannel.1"],
    "device down": ["link set flannel.1 down"],
    "device with another MAC": ["link set flannel.1 address 02:00:00:00:00:01"],
    "address flushed": ["address flush dev flannel.1"],
    "routes flushed": ["route flush proto 102"],
    "neighbours flushed": ["neighbour flush dev flannel.1 nud permanent"],
    "everything at once": [
        "neighbour flush dev flannel.1 nud permanent",
        "route flush proto 102",
        "link delete flannel.1",
    ],
}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after each test: the lab's fixture checks after the last."""


@vxlan
@pytest.mark.parametrize("commands", DAMAGE.values(), ids=DAMAGE)
async def test_damage_is_repaired(lab: Lab, commands: list[str]) -> None:
    assert (await lab.wait_connected(PATIENCE)).complete
    before = await _objects(lab)
    for command in commands:
        await ip_batch([command], netns=lab.names.node(1))
    stopwatch = Stopwatch()
    matrix = await lab.wait_connected(PATIENCE)
    assert matrix.complete, f"silent: {matrix.silent}"
    assert stopwatch.seconds <= WITHIN
    await _until(lambda: _objects(lab), before)


@vxlan
async def test_fdb_entries_come_back(lab: Lab) -> None:
    assert (await lab.wait_connected(PATIENCE)).complete
    before = await _fdb(lab)
    assert len(before) == 2
    for entry in before:
        mac, destination = entry
        await _bridge(lab, "fdb", "delete", mac, "dev", "flannel.1", "dst", destination, "self")
    await _until(lambda: _fdb(lab), before)
    stopwatch = Stopwatch()
    assert (await lab.wait_connected(PATIENCE)).complete
    assert stopwatch.seconds <= WITHIN


@vxlan
async def test_a_lease_taken_from_the_store_is_taken_again(lab: Lab) -> None:
    """The same subnet, at once, and without a lost packet."""
    assert (await lab.wait_connected(PATIENCE)).complete
    before = await _lease_keys(lab)
    subnet = lab.node(1).pod_addresses[0].masked()
    key = f"{subnet.address}-{subnet.length}"
    async with probing(lab.pod(1), lab.pod(2)) as stream:
        await stream.wait_answered(20)
        stopwatch = Stopwatch()
        with closing(sqlite3.connect(lab.directory / "store.db", timeout=5)) as store, store:
            assert store.execute("DELETE FROM leases WHERE key = ?", (key,)).rowcount == 1
        await _until(lambda: _lease_keys(lab), before)
        await stream.wait_answered(20)
    assert (await lab.wait_connected(PATIENCE)).complete
    assert stream.report.longest_gap <= WITHIN + stopwatch.waited


@direct
async def test_direct_routing_is_decided_again_when_routes_change(lab: Lab) -> None:
    """Nodes 1 and 3 share a subnet; a route by way of the router makes them neighbours no more."""
    assert (await lab.wait_connected(PATIENCE)).complete
    node = lab.names.node(1)
    assert await _ways(lab, 3) == ["eth0", "eth0"]
    detours = ["192.168.101.3/32 via 192.168.101.254", "fd00:101::3/128 via fd00:101::254"]
    await ip_batch([f"route add {detour}" for detour in detours], netns=node)
    await _until(lambda: _ways(lab, 3), ["flannel.1", "flannel-v6.1"])
    assert (await lab.wait_connected(PATIENCE)).complete
    await ip_batch([f"route delete {detour}" for detour in detours], netns=node)
    await _until(lambda: _ways(lab, 3), ["eth0", "eth0"])
    assert (await lab.wait_connected(PATIENCE)).complete


async def _until(look: Callable[[], Awaitable[T]], wanted: T) -> None:
    """Look again and again until what is seen is ``wanted``."""
    end = time.monotonic() + PATIENCE
    while True:
        seen = await look()
        if seen == wanted:
            return
        assert time.monotonic() < end, f"{seen}\nis not\n{wanted}"
        await asyncio.sleep(0.02)


async def _objects(lab: Lab) -> list[str]:
    """Routes, neighbours, addresses and the MAC on the overlay device of node 1."""
    netns = lab.names.node(1)
    shown = []
    for query in (
        "route show proto 102",
        "neighbour show dev flannel.1 nud permanent",
        "-brief -4 address show dev flannel.1",
        "-brief link show dev flannel.1",
    ):
        try:
            shown += (await ip_output(query.split(), netns=netns)).splitlines()
        except LabError:
            shown.append("no device")
    return sorted(" ".join(line.split()) for line in shown)


async def _fdb(lab: Lab) -> list[tuple[str, str]]:
    output = await _bridge(lab, "-json", "fdb", "show", "dev", "flannel.1")
    return sorted((entry["mac"], entry["dst"]) for entry in json.loads(output) if "dst" in entry)


async def _bridge(lab: Lab, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("bridge", "-n", lab.names.node(1), *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    stdout, _ = await process.communicate()
    assert process.returncode == 0
    return stdout.decode()


async def _lease_keys(lab: Lab) -> list[str]:
    with closing(sqlite3.connect(lab.directory / "store.db", timeout=5)) as store:
        return [key for (key,) in store.execute("SELECT key FROM leases ORDER BY key")]


async def _ways(lab: Lab, node: int) -> list[str]:
    """The device by which node 1 sends to each address of a node's pod."""
    found = []
    for address in lab.pod(node).addresses:
        query = ["-json", "route", "get", str(address)]
        found.append(json.loads(await ip_output(query, netns=lab.names.node(1)))[0]["dev"])
    return found
