"""KubeSubnetManager: the nodes of a Kubernetes cluster as flannel's leases."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from flannel_sdk.closing import Closing
from flannel_sdk.errors import ConfigMissing, LeaseLost, StoreUnavailable
from flannel_sdk.model import (
    ByFamily,
    Family,
    IPAddress,
    Lease,
    LeaseAttrs,
    LeaseDelta,
    LeaseSnapshot,
    LeaseState,
    NetworkConfig,
    Subnets,
)
from flannel_sdk_kube.annotations import AnnotationNames
from flannel_sdk_kube.lease_table import LeaseTable
from flannel_sdk_kube.lease_watch import watch_lease, watch_leases
from flannel_sdk_kube.leasing import Leasing
from flannel_sdk_kube.net_conf import read_net_conf, watch_net_conf
from flannel_sdk_kube.node_client import NodeClient
from flannel_sdk_kube.nodes import NodeReader
from flannel_sdk_kube.options import KubeOptions
from flannel_sdk_kube.pod_cidrs import as_assigned


class KubeSubnetManager:
    """SubnetManager over one cluster; SupportsConfigWatch, SupportsHolderNames,
    SupportsLastHeard, SupportsNetworkReady, SupportsStoredPublicIPs.

    The cluster gives each node its pod CIDR, which is the lease's subnet: leases do not expire,
    and nothing is chosen. Nodes of flanneld's and ours share a cluster. Close it with
    ``async with`` or ``aclose``. It belongs to the event loop that it is first used in.
    """

    def __init__(self, options: KubeOptions, *, client: NodeClient | None = None) -> None:
        """No I/O; ConfigError if an option is wrong. ``client`` replaces all that talks HTTP."""
        self._options = options
        self._client = client or _connect(options)
        self._names = AnnotationNames.of(options.annotation_stem)
        self._leasing = Leasing(self._client, self._names)
        self._closing = Closing()
        self._is_node = options.node_name is not None or options.pod_name is not None
        self._assigned: Subnets = ByFamily()
        """Our node's subnets, as far as they were asked for."""
        self._table: LeaseTable | None = None
        """Of the watch that was begun last."""
        self.name = self._client.name

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def get_network_config(self) -> NetworkConfig:
        """See SubnetManager; from the file ``net_config_path``.

        Where the options say which node this is, the pools are as its cluster assigns subnets, and
        fails as ``acquire_lease`` does while it has assigned none.
        """
        self._refuse_closed()
        config = await read_net_conf(self._options.net_config_path)
        if self._is_node:
            self._assigned = await self._leasing.assigned(config)
        return as_assigned(config, self._assigned)

    async def acquire_lease(self, attrs: LeaseAttrs, previous: Subnets | None = None) -> Lease:
        """The lease of our node: its pod CIDRs, whatever was held before.

        StoreUnavailable while there is no such node, or while it has no pod CIDR of each family of
        the network. ConfigError if one is not inside the network. What is held already is kept
        whatever became of the file since: it may say what its user does not apply.
        """
        self._refuse_closed()
        held = self._leasing.lease
        if held is not None and held.subnets == self._assigned:
            with suppress(LeaseLost):
                return await self._leasing.renew(replace(held, attrs=attrs))
        config = await read_net_conf(self._options.net_config_path)
        lease = await self._leasing.acquire(config, attrs)
        self._assigned = lease.subnets
        return lease

    async def renew_lease(self, lease: Lease) -> Lease:
        """See SubnetManager: writes what differs, and nothing where nothing does."""
        self._refuse_closed()
        return await self._leasing.renew(lease)

    async def stored_public_ips(self) -> ByFamily[IPAddress]:
        """See SupportsStoredPublicIPs; from our node's ``node-public-ip`` annotations."""
        self._refuse_closed()
        return await self._leasing.stored_public_ips()

    async def network_ready(self, lease: Lease) -> None:
        """See SupportsNetworkReady: our node's condition ``NetworkUnavailable`` becomes False.

        Also that of a node made again under its name. Nothing is told where
        ``set_node_network_unavailable`` is off.
        """
        self._refuse_closed()
        if self._options.set_node_network_unavailable:
            await self._leasing.tell_ready()

    def watch_lease(self, lease: Lease) -> AsyncGenerator[LeaseState, None]:
        """See SubnetManager. What an operator overwrites is not told as a difference."""
        return self._closing.until_closed(watch_lease(self._client, self._leasing, lease))

    def watch_leases(self) -> AsyncGenerator[LeaseSnapshot | LeaseDelta, None]:
        """See SubnetManager; entries are named by their nodes.

        Only families of our lease are told, or of the configuration while we hold none; all where
        there is none either.
        """
        return self._closing.until_closed(self._watch_leases())

    def holder_name(self, subnets: Subnets) -> str | None:
        """See SupportsHolderNames: ``node NAME``."""
        name = self._table.holder(subnets) if self._table is not None else None
        return None if name is None else f"node {name}"

    def watch_network_config(self) -> AsyncGenerator[NetworkConfig, None]:
        """See SupportsConfigWatch; the file is looked at every 2 s."""
        return self._closing.until_closed(self._watch_network_config())

    def last_heard(self) -> float | None:
        """See SupportsLastHeard; an API server tells a watch something each minute."""
        return self._client.last_heard()

    async def aclose(self) -> None:
        """See SubnetManager."""
        self._closing.close()
        await self._client.aclose()

    async def _watch_leases(self) -> AsyncGenerator[LeaseSnapshot | LeaseDelta, None]:
        reader = NodeReader(self._names, await self._families())
        before, table = self._table, LeaseTable(reader, self._leasing.own_name)
        self._table = table
        try:
            async with aclosing(watch_leases(self._client, table)) as items:
                async for item in items:
                    yield item
        finally:
            if self._table is table and before is not None:
                self._table = before

    async def _watch_network_config(self) -> AsyncGenerator[NetworkConfig, None]:
        def told_as(config: NetworkConfig) -> NetworkConfig:
            return as_assigned(config, self._assigned)

        path = self._options.net_config_path
        async with aclosing(watch_net_conf(path, told_as=told_as)) as configs:
            async for config in configs:
                yield config

    async def _families(self) -> Iterable[Family]:
        if self._leasing.lease is not None:
            return self._leasing.lease.subnets.families
        try:
            config = await read_net_conf(self._options.net_config_path)
        except ConfigMissing:
            return tuple(Family)
        return config.pools.families

    def _refuse_closed(self) -> None:
        if self._closing.is_closed:
            raise StoreUnavailable(f"{self.name} is closed.")


def _connect(options: KubeOptions) -> NodeClient:
    from flannel_sdk_kube.client import KubeClient

    return KubeClient(options)
