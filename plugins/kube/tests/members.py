"""Nodes of ours in a cluster of the tests: a store for each, and what a daemon does with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Self

from flannel_sdk_kube.manager import KubeSubnetManager
from flannel_sdk_kube.options import KubeOptions

from flannel_sdk.engine.feed import LeaseFeed
from flannel_sdk.engine.keeper import LeaseKeeper
from flannel_sdk.model import ByFamily, IPAddress, Lease, LeaseAttrs, LeaseSnapshot
from flannel_sdk.testing.waiting import eventually
from plugins.kube.tests.apiserver import ApiServer

IPV4 = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
DUAL = (
    '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd05::/48",'
    '"Backend":{"Type":"vxlan"}}'
)
STEM = "flannel.alpha.coreos.com/"
MANAGED = f"{STEM}kube-subnet-manager"
TYPE = f"{STEM}backend-type"
DATA = f"{STEM}backend-data"
DATA6 = f"{STEM}backend-v6-data"
ADDRESS = f"{STEM}public-ip"
ADDRESS6 = f"{STEM}public-ipv6"


def vxlan(number: int, *, dual: bool = False) -> LeaseAttrs:
    """What the vxlan backend of node ``number`` publishes."""
    data = f'{{"VNI":1,"VtepMAC":"12:c6:65:89:b4:{number:02x}"}}'
    address = IPAddress.parse(f"192.0.2.{number}")
    if not dual:
        return LeaseAttrs(ByFamily(address), "vxlan", ByFamily(data))
    address6 = IPAddress.parse(f"2001:db8::{number:x}")
    return LeaseAttrs(ByFamily(address, address6), "vxlan", ByFamily(data, data))


class Peers:
    """What one node believes of the others: a LeaseFeed, and every item that it was given."""

    def __init__(self, feed: LeaseFeed) -> None:
        self.feed = feed
        self.snapshots = 0
        self.deltas = 0

    def addresses(self) -> dict[str, str]:
        """Public IPv4 address by IPv4 subnet, of those accepted."""
        return {
            str(lease.subnets.ipv4): str(lease.attrs.public_ips.ipv4) for lease in self.feed.peers()
        }

    @property
    def refused(self) -> dict[str, object]:
        return {name: self.feed.status()[name] for name in ("refused", "malformed")}


class Member:
    """One node's store."""

    def __init__(self, store: KubeSubnetManager, name: str) -> None:
        self.store = store
        self.name = name

    @asynccontextmanager
    async def peers(self, own: Lease) -> AsyncIterator[Peers]:
        """Follow the others in the background; returns once there was a snapshot."""
        peers = Peers(LeaseFeed(await self.store.get_network_config(), own))

        async def follow() -> None:
            async with aclosing(self.store.watch_leases()) as items:
                async for item in items:
                    peers.feed.apply(item)
                    if isinstance(item, LeaseSnapshot):
                        peers.snapshots += 1
                    else:
                        peers.deltas += 1

        async with _background(follow()) as following:
            await eventually(lambda: peers.snapshots or following.done(), "a snapshot", 20)
            yield peers

    @asynccontextmanager
    async def kept(self, attrs: LeaseAttrs) -> AsyncIterator[LeaseKeeper]:
        """Hold a lease as the agent does."""
        keeper = LeaseKeeper(self.store)
        await keeper.acquire_lease(attrs)
        async with _background(keeper.run()):
            yield keeper


class Members:
    """Makes members; they are closed with it."""

    def __init__(self, server: ApiServer, folder: Path, network: str = IPV4) -> None:
        self.server = server
        self.net_conf = folder / "net-conf.json"
        self.net_conf.write_text(network)
        self._stack = AsyncExitStack()

    def member(self, name: str, *, url: str | None = None, timeout: float = 10.0) -> Member:
        """The store of the node ``name``, whether or not there is such a node."""
        options = KubeOptions(
            kubeconfig=self.server.kubeconfig(url=url),
            net_config_path=self.net_conf,
            node_name=name,
            timeout=timeout,
        )
        store = KubeSubnetManager(options)
        self._stack.push_async_callback(store.aclose)
        return Member(store, name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def _background(work: object) -> AsyncIterator[asyncio.Task[None]]:
    """Run a coroutine meanwhile; what it fails with is raised at the end."""
    assert asyncio.iscoroutine(work)
    task: asyncio.Task[None] = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
