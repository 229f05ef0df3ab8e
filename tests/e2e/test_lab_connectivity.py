"""Real daemons connect real pods, and keep them connected whatever happens to one node."""

import asyncio
import json
import signal
import sqlite3
import time
from contextlib import AsyncExitStack, closing
from typing import TypedDict

import pytest

from flannel_sdk.lab import Lab, ProbeStream, probing
from flannel_sdk.lab.faults import find_fault
from flannel_sdk.lab.iproute import ip_output
from flannel_sdk.model import ByFamily, Subnets
from flannel_sdk.model.subnet_key import format_subnet_key
from tests.stopwatch import Stopwatch

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PATIENCE = 10.0


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after each test: a daemon started again is a new child.

    The lab's fixture checks after the last test that all is gone.
    """


async def assert_connected(lab: Lab) -> None:
    matrix = await lab.wait_connected(PATIENCE)
    assert matrix.complete, f"silent: {matrix.silent}"


async def test_every_pair_of_pods_answers(lab: Lab) -> None:
    await assert_connected(lab)
    matrix = await lab.ping()
    nodes, families = len(lab.state.nodes), len(lab.spec.families.members)
    assert len(matrix.results) == nodes * (nodes - 1) * families
    assert matrix.complete


async def test_packets_as_big_as_the_mtu_pass_unfragmented(lab: Lab) -> None:
    await assert_connected(lab)
    mtu = lab.node(1).mtu
    matrix = await lab.ping(packet_bytes=mtu)
    assert matrix.complete, f"{mtu} bytes: silent: {matrix.silent}"
    too_long = await lab.ping(packet_bytes=mtu + 1, timeout=0.05)
    assert {result.refusal for result in too_long.results} == {"Message too long"}


async def test_traffic_between_subnets_is_encapsulated_and_within_one_as_asked(lab: Lab) -> None:
    """Routes from node 1: node 2 is on the other subnet where there are two, node 3 on its own."""
    direct = lab.spec.backend == "host-gw" or lab.spec.backend_options.get("DirectRouting")
    for other in lab.state.nodes:
        if other == 1:
            continue
        same = lab.spec.underlay_subnet(other) == lab.spec.underlay_subnet(1)
        for address in lab.pod(other).addresses:
            output = await ip_output(
                ["-json", "route", "get", str(address)], netns=lab.names.node(1)
            )
            device = json.loads(output)[0]["dev"]
            assert (device == "eth0") == bool(direct and same), f"{address} goes by {device}"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_daemon_ends_and_starts_again_without_a_lost_packet(
    lab: Lab, how: signal.Signals
) -> None:
    """A packet each 5 ms, both ways, in each family, while the daemon of node 1 is replaced."""
    await assert_connected(lab)
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(
                probing(lab.pod(source), lab.pod(destination), family=family, interval=0.005)
            )
            for source, destination in ((1, 2), (2, 1))
            for family in lab.spec.families.members
        ]
        await _all_answered(streams, 20)
        before = await _data_plane(lab, 1)
        stopwatch = Stopwatch()
        code, seconds = await lab.stop_daemon(1, how)
        if how is signal.SIGTERM:
            assert code == 0
            assert seconds <= 2.0 + stopwatch.waited
        assert await _data_plane(lab, 1) == before
        await _all_answered(streams, 20)
        await lab.start_daemon(1)
        await _all_answered(streams, 50)
        assert await _data_plane(lab, 1) == before
    for stream in streams:
        assert stream.report.lost == (), stream.report.to_json()


async def test_what_was_deleted_comes_back_within_a_second(lab: Lab) -> None:
    await assert_connected(lab)
    node = lab.names.node(1)
    fault = await find_fault(lab.spec, node)
    assert fault is not None
    before = await _data_plane(lab, 1)
    stopwatch = Stopwatch()
    await fault.strike()
    matrix = await lab.wait_connected(PATIENCE)
    assert matrix.complete, f"silent: {matrix.silent}"
    assert stopwatch.seconds <= 1.0
    await _wait_data_plane(lab, 1, before)


async def test_a_node_joins_and_leaves(lab: Lab) -> None:
    await assert_connected(lab)
    before = await _data_plane(lab, 1)
    number = await lab.add_node()
    await assert_connected(lab)
    assert await _data_plane(lab, 1) != before
    subnets: Subnets = ByFamily()
    for prefix in lab.node(number).pod_addresses:
        subnets = subnets.with_value(prefix.family, prefix.masked())
    async with probing(
        lab.pod(1), lab.pod(2), family=lab.spec.families.members[0], interval=0.005
    ) as stream:
        await lab.remove_node(number)
        _end_lease(lab, format_subnet_key(subnets))
        await _wait_data_plane(lab, 1, before)
        await stream.wait_answered(20)
    assert stream.report.lost == (), stream.report.to_json()
    await assert_connected(lab)


async def _wait_data_plane(lab: Lab, number: int, wanted: list[str]) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        found = await _data_plane(lab, number)
        if found == wanted:
            return
        assert time.monotonic() < end, "\n".join(sorted({*found} ^ {*wanted}))
        await asyncio.sleep(0.02)


async def _all_answered(streams: list[ProbeStream], count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        for stream in streams:
            await stream.wait_answered(count)


def _end_lease(lab: Lab, key: str) -> None:
    """As when the lease expires: the entry goes from the store."""
    with closing(sqlite3.connect(lab.directory / "store.db", timeout=5)) as store, store:
        ended = store.execute("DELETE FROM leases WHERE key = ?", (key,)).rowcount
    assert ended == 1, f"no lease {key}"


class _Route(TypedDict, total=False):
    dst: str
    dev: str
    gateway: str
    nhid: int


async def _data_plane(lab: Lab, number: int) -> list[str]:
    """What forwards packets on a node: devices, routes, neighbours and FDB entries that stay."""
    netns = lab.names.node(number)
    found = []
    for line in (await ip_output(["-oneline", "link", "show"], netns=netns)).splitlines():
        name, flags = line.split()[1:3]
        found.append(f"link {name} {'UP' in flags} {line.partition('link/')[2][:30]}")
    for family in ("-4", "-6"):
        routes = await ip_output([family, "-json", "route", "show"], netns=netns)
        route: _Route
        for route in json.loads(routes):
            found.append(f"route {route['dst']} {route.get('dev')} {route.get('gateway')}")
        shown = await ip_output([family, "neighbour", "show", "nud", "permanent"], netns=netns)
        found += [f"neighbour {line}" for line in shown.splitlines()]
    return sorted(found)
