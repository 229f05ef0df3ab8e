"""Acquiring and renewing our own lease: the annotations of our node, patched where they differ."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from flannel_sdk.errors import (
    ConfigError,
    LeaseLost,
    MalformedEntry,
    StoreError,
    StoreUnavailable,
)
from flannel_sdk.model import (
    ByFamily,
    IPAddress,
    Lease,
    LeaseAttrs,
    LeaseGone,
    LeaseHeld,
    LeaseState,
    NetworkConfig,
    Subnets,
    encode_attrs,
)
from flannel_sdk_kube.annotations import (
    AnnotationNames,
    differences,
    read_stored_public_ips,
    unusable_overwrites,
    wanted_annotations,
)
from flannel_sdk_kube.condition import network_available
from flannel_sdk_kube.node_client import NodeClient, NodeEntry
from flannel_sdk_kube.nodes import NodeReader, Revisions
from flannel_sdk_kube.pod_cidrs import assigned_subnets, why_lost

_log = logging.getLogger(__name__)

_MOST_PATCHES: Final = 3
"""That one call sends before it takes what it finds for the work of somebody else."""


class Leasing:
    """The writing half of the store, and the judge of what a watch of our node tells.

    Patches are idempotent, and name only what differs: whoever was cancelled or got no answer asks
    again, and finds it done or not.
    """

    def __init__(self, client: NodeClient, names: AnnotationNames) -> None:
        self.lease: Lease | None = None
        """What was acquired or renewed last."""
        self._client = client
        self._names = names
        self._node_name: str | None = None
        self._writing = asyncio.Lock()
        self._wanted: LeaseAttrs | None = None
        """What our node has to publish."""
        self._revisions = Revisions()
        self._is_ready = False
        self._told_ready: str | None = None
        """The uid of the node whose condition says that the network is there."""
        self._warned: dict[str, str] = {}

    @property
    def own_name(self) -> str | None:
        """The name of our node, once it holds a lease."""
        return self._node_name if self.lease is not None else None

    async def node_name(self) -> str:
        """The name of our node, which is asked for once."""
        if self._node_name is None:
            self._node_name = await self._client.node_name()
        return self._node_name

    async def acquire(self, config: NetworkConfig, attrs: LeaseAttrs) -> Lease:
        """As ``SubnetManager.acquire_lease``, for this configuration."""
        async with self._writing:
            name = await self.node_name()
            return await self._publish(
                await self._client.get_node(name),
                attrs,
                lambda node: assigned_subnets(node, config),
                self._no_node,
            )

    async def renew(self, lease: Lease) -> Lease:
        """As ``SubnetManager.renew_lease``."""

        def still_ours(node: NodeEntry) -> Subnets:
            if (reason := why_lost(node, lease)) is not None:
                raise LeaseLost(reason)
            return lease.subnets

        def gone() -> StoreError:
            return LeaseLost(f"The node {self._node_name}, whose lease it is, is gone.")

        async with self._writing:
            node = await self._client.get_node(await self.node_name())
            return await self._publish(node, lease.attrs, still_ours, gone)

    async def assigned(self, config: NetworkConfig) -> Subnets:
        """What our node was assigned, as ``acquire`` would take it; nothing is written."""
        return assigned_subnets(await self._own_node(), config)

    async def stored_public_ips(self) -> ByFamily[IPAddress]:
        """As ``SupportsStoredPublicIPs.stored_public_ips``."""
        return read_stored_public_ips(self._names, (await self._own_node()).annotations)

    async def tell_ready(self) -> None:
        """Set our node's condition, now and again when the node was made again."""
        async with self._writing:
            self._is_ready = True
            name = await self.node_name()
            node = await self._client.patch_node_status(name, {"status": _ready_status()})
            if node is None:
                raise self._no_node()
            self._told_ready = node.uid

    def judge(self, node: NodeEntry | None, lease: Lease) -> LeaseState:
        """What has become of ``lease``, by what a watch tells of our node."""
        if node is None:
            return LeaseGone(f"The node {self._node_name} was deleted.")
        if (reason := why_lost(node, lease)) is not None:
            return LeaseGone(reason)
        wanted = self._wanted or lease.attrs
        different = self._different(node, wanted)
        if not different and not self._owes_condition(node):
            return LeaseHeld(Lease(lease.subnets, wanted, None, self._revisions.of(node)))
        try:
            found = NodeReader(self._names, lease.subnets.families).lease(node)
        except MalformedEntry as error:
            return LeaseGone(f"What the node {node.name} publishes cannot be read. {error}")
        if found is None or encode_attrs(found.attrs) == encode_attrs(wanted):
            what = ", ".join(different) or "its condition"
            return LeaseGone(f"The node {node.name} does not say what it has to: {what}.")
        return LeaseHeld(Lease(lease.subnets, found.attrs, None, self._revisions.of(node)))

    # -- below -------------------------------------------------------------------

    async def _own_node(self) -> NodeEntry:
        node = await self._client.get_node(await self.node_name())
        if node is None:
            raise self._no_node()
        return node

    def _no_node(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"There is no node {self._node_name} in {self._client.name}: its kubelet has not"
            " registered it, or node_name (NODE_NAME) is wrong."
        )

    async def _publish(
        self,
        node: NodeEntry | None,
        attrs: LeaseAttrs,
        subnets_of: Callable[[NodeEntry], Subnets],
        gone: Callable[[], StoreError],
    ) -> Lease:
        """Patch until the node says what it has to; what it answers is judged like what was read.

        It may have been deleted and made again, or annotated by others, at any moment.
        """
        if not attrs.public_ips.families:
            raise ConfigError("public-ip", "A node needs a public IP address to hold a lease.")
        encode_attrs(attrs)  # refuses what no peer could read
        for patches_left in reversed(range(_MOST_PATCHES + 1)):
            if node is None:
                raise gone()
            subnets = subnets_of(node)
            self._wanted = attrs
            body = self._patch(node, attrs)
            if not body:
                self._warn_of_overwrites(node)
                self.lease = Lease(subnets, attrs, None, self._revisions.of(node))
                return self.lease
            if patches_left:
                node = await self._client.patch_node_status(node.name, body)
                if node is not None and "status" in body:
                    self._told_ready = node.uid
        raise StoreUnavailable(
            f"The node {self._node_name} does not keep what is written to it: something removes or"
            " replaces flannel's annotations."
        )

    def _patch(self, node: NodeEntry, attrs: LeaseAttrs) -> dict[str, object]:
        """What a node lacks; empty if it lacks nothing."""
        body: dict[str, object] = {}
        if different := self._different(node, attrs):
            body["metadata"] = {"annotations": different}
        if self._owes_condition(node):
            body["status"] = _ready_status()
        return body

    def _different(self, node: NodeEntry, attrs: LeaseAttrs) -> dict[str, str | None]:
        return differences(
            wanted_annotations(self._names, attrs, node.annotations), node.annotations
        )

    def _owes_condition(self, node: NodeEntry) -> bool:
        return self._is_ready and self._told_ready not in {None, node.uid}

    def _warn_of_overwrites(self, node: NodeEntry) -> None:
        unusable = unusable_overwrites(self._names, node.annotations)
        for name, text in unusable.items():
            if self._warned.get(name) != text:
                _log.warning(
                    "the annotation %s of the node %s is passed over, being no address: %s",
                    name,
                    node.name,
                    text,
                )
        self._warned = unusable


def _ready_status() -> dict[str, object]:
    return {"conditions": [network_available(time.time())]}
