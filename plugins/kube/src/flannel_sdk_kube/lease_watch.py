"""Watching all leases, and our own one."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from flannel_sdk.model import Lease, LeaseDelta, LeaseSnapshot, LeaseState
from flannel_sdk_kube.lease_table import LeaseTable
from flannel_sdk_kube.leasing import Leasing
from flannel_sdk_kube.node_client import NodeClient, NodeSnapshot


async def watch_leases(
    client: NodeClient, table: LeaseTable
) -> AsyncGenerator[LeaseSnapshot | LeaseDelta, None]:
    """As ``SubnetManager.watch_leases``, with a fresh ``table``: one snapshot, then deltas."""
    async with aclosing(client.watch_nodes()) as items:
        async for item in items:
            if isinstance(item, NodeSnapshot):
                yield table.snapshot(item)
            elif (delta := table.delta(item)) is not None:
                yield delta


async def watch_lease(
    client: NodeClient, leasing: Leasing, lease: Lease
) -> AsyncGenerator[LeaseState, None]:
    """As ``SubnetManager.watch_lease``."""
    async with aclosing(client.watch_node(await leasing.node_name())) as nodes:
        last: LeaseState | None = None
        async for node in nodes:
            state = leasing.judge(node, lease)
            if state != last:
                last = state
                yield state
