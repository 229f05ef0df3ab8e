"""Pods on our nodes and on flanneld's reach each other, whatever becomes of either daemon."""

from contextlib import AsyncExitStack
from functools import partial
from signal import Signals

import pytest

from flannel_sdk.lab import probing
from flannel_sdk.testing.waiting import eventually
from tests.e2e.flanneld.cluster import PATIENCE, PREFIX, Kind, MixedCluster, MixedNode

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after each test: a daemon started again is a new child.

    The cluster's fixture checks after the last test that all is gone.
    """


async def test_every_pair_of_pods_answers(mixed: MixedCluster) -> None:
    await mixed.wait_connected()
    await mixed.wait_connected(min(node.mtu for node in mixed.nodes.values()))


@pytest.mark.parametrize("how", [Signals.SIGTERM, Signals.SIGKILL])
@pytest.mark.parametrize("kind", Kind)
async def test_a_daemon_is_restarted(mixed: MixedCluster, kind: Kind, how: Signals) -> None:
    """It keeps its subnet. Where the kernel forwards, a restart of ours loses no packet."""
    await mixed.wait_connected()
    number, peer = mixed.of(kind)[0], mixed.of(kind.other)[0]
    before = mixed.entry(number).key
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(
                probing(mixed.pod(source), mixed.pod(target), family=family)
            )
            for source, target in ((number, peer), (peer, number))
            for family in mixed.spec.families.members
        ]
        code = mixed.stop(number, how)
        if kind is Kind.OURS or how is Signals.SIGKILL:  # SIGTERM makes old flannelds panic
            assert code == (0 if how is Signals.SIGTERM else -how)
        await mixed.start(number)
        for stream in streams:
            await stream.wait_sent(50)
    assert mixed.entry(number).key == before
    if kind is Kind.OURS and mixed.spec.backend != "udp":
        assert [stream.report.lost for stream in streams] == [()] * len(streams)
    await mixed.wait_connected()


@pytest.mark.parametrize("kind", Kind)
async def test_a_node_is_taken_over_by_the_other_daemon(mixed: MixedCluster, kind: Kind) -> None:
    """The other daemon on the same node adopts the lease, and its subnet, by the public IP."""
    await mixed.wait_connected()
    number = mixed.of(kind)[0]
    before = mixed.entry(number)
    for daemon in (kind.other, kind):
        mixed.stop(number, Signals.SIGKILL)
        # What subnet.env says is not what the subnet is found by.
        mixed.nodes[number].files.subnet_file.unlink()
        await mixed.start(number, daemon)
        assert mixed.entry(number).key == before.key
        await mixed.wait_connected()


async def test_nodes_of_each_kind_join_after_a_compaction_and_leave(mixed: MixedCluster) -> None:
    await mixed.wait_connected()
    nodes = mixed.followers()
    before = [node.routes() for node in nodes]
    mixed.etcd.control.compact()
    joining = {5: Kind.OURS, 6: Kind.FLANNELD}
    await mixed.join(joining)
    await mixed.wait_connected()
    for number in joining:
        entry = mixed.entry(number)
        await mixed.leave(number)
        mixed.etcd.control.delete(entry.key)
    for node, routes in zip(nodes, before, strict=True):
        who = f"node {node.number} ({node.kind.value}) forgets who left"
        await eventually(partial(_has_routes, node, routes), who, PATIENCE)
    await mixed.wait_connected()


def _has_routes(node: MixedNode, routes: set[str]) -> bool:
    return node.routes() == routes


async def test_etcd_is_killed_and_comes_back(mixed: MixedCluster) -> None:
    """Pods reach each other meanwhile, and the watches of all nodes go on after it."""
    mixed.etcd.member.kill()
    await mixed.wait_connected()
    mixed.etcd.member.restart()
    await mixed.join({7: Kind.OURS})
    await mixed.wait_connected()
    entry = mixed.entry(7)
    await mixed.leave(7)
    mixed.etcd.control.delete(entry.key)
    await mixed.wait_connected()


async def test_a_reservation_is_kept_by_our_node_and_seen_by_flanneld(mixed: MixedCluster) -> None:
    """An entry without an etcd lease stays without one."""
    taken = {entry.key for entry in mixed.entries()}
    suffix = "" if len(mixed.spec.families.members) == 1 else "&fd05:0:0:ffff::-64"
    # flanneld takes one of the first hundred subnets.
    names = (f"{PREFIX}/subnets/10.5.{number}.0-24{suffix}" for number in range(200, 250))
    key = next(name for name in names if name not in taken)
    mixed.etcd.control.put(key, f'{{"PublicIP":"{mixed.public_ip(8)}"}}')
    await mixed.join({8: Kind.OURS})
    entry = mixed.entry(8)
    assert (entry.key, entry.lease) == (key, 0)
    await mixed.wait_connected()
    await mixed.leave(8)
    mixed.etcd.control.delete(key)
