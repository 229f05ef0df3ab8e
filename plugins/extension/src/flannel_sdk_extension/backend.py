"""extension: commands of the network's configuration make the data plane (flannel chapter 7.8)."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.interfaces import BackendContext, LeaseAcquirer, PeerFeed
from flannel_sdk.model import (
    ByFamily,
    IPAddress,
    Lease,
    LeaseAttrs,
    NetworkConfig,
    SubnetPool,
    Subnets,
)
from flannel_sdk.toolkit import enabled_public_ips
from flannel_sdk_extension.memory import PeerMemory
from flannel_sdk_extension.options import Command, Options
from flannel_sdk_extension.peers import PeerCommands
from flannel_sdk_extension.running import published_text, run_command

_log = logging.getLogger(__name__)

_NO_POOLS: ByFamily[SubnetPool] = ByFamily()


class ExtensionNetwork:
    """A registered extension network."""

    def __init__(
        self,
        context: BackendContext,
        options: Options,
        lease: Lease,
        memory: PeerMemory,
    ) -> None:
        self._context = context
        self._options = options
        self.lease = lease
        self.mtu = options.mtu
        self._peers = PeerCommands(
            self._add,
            self._remove,
            self._check,
            memory,
            parallel=options.parallel,
            repeat=options.repeat,
        )

    async def run(self, peers: PeerFeed) -> None:
        """As ``Network.run``; the first update runs SubnetAddCommand for every peer again."""
        await self._peers.run(peers)

    def status(self) -> Mapping[str, object]:
        """As ``SupportsStatus.status``."""
        return self._peers.status()

    def _check(self, lease: Lease) -> None:
        if lease.attrs.backend_type != "extension":
            raise MalformedEntry(
                f"its backend is {lease.attrs.backend_type[:40]!r}, not 'extension'"
            )
        if all(None in pair for pair in zip(self.lease.subnets, lease.subnets, strict=True)):
            raise MalformedEntry("its lease has no address family of this node")
        peer_text(lease)

    async def _add(self, lease: Lease) -> None:
        await self._run(self._options.subnet_add, lease)

    async def _remove(self, lease: Lease) -> None:
        await self._run(self._options.subnet_remove, lease)

    async def _run(self, command: Command | None, peer: Lease) -> None:
        if command is not None:
            await run_command(
                command,
                variables(peer.subnets, peer.attrs.public_ips),
                peer_text(peer),
                netns=self._context.netns,
                timeout=self._options.timeout,
            )


class ExtensionBackend:
    """extension on one node."""

    def __init__(self, context: BackendContext) -> None:
        self._context = context
        self._memories: dict[Path | None, PeerMemory] = {}

    async def register_network(
        self, config: NetworkConfig, leases: LeaseAcquirer
    ) -> ExtensionNetwork:
        """As ``Backend.register_network``; RetryableError while a startup command fails."""
        options = Options.read(config, self._context)
        if options.shutdown is not None:
            _log.warning("Backend.ShutdownCommand is never run: stopping leaves the data plane")
        public_ips = enabled_public_ips(self._context, config)
        data: ByFamily[str] = ByFamily()
        if options.pre_startup is not None:
            text = await self._pre_startup(options.pre_startup, options.timeout)
            for family in public_ips.families:
                data = data.with_value(family, text)
        lease = await leases.acquire_lease(LeaseAttrs(public_ips, "extension", data))
        if options.post_startup is not None:
            await run_command(
                options.post_startup,
                variables(lease.subnets, public_ips, config.pools),
                "",
                netns=self._context.netns,
                timeout=options.timeout,
            )
        path = options.state_file
        memory = self._memories.setdefault(path, PeerMemory(path))
        await memory.load()
        return ExtensionNetwork(self._context, options, lease, memory)

    async def _pre_startup(self, command: Command, timeout: int) -> str:
        """The backend data: flannel has one text a node, whatever its families are."""
        printed = await run_command(command, {}, "", netns=self._context.netns, timeout=timeout)
        return json.dumps(published_text(command, printed), ensure_ascii=False)


def variables(
    subnets: Subnets, public_ips: ByFamily[IPAddress], pools: ByFamily[SubnetPool] = _NO_POOLS
) -> Mapping[str, str | None]:
    """What a command is told; None for what is not there."""
    networks = [pool and pool.network for pool in pools]
    names = ("NETWORK", "IPV6NETWORK", "SUBNET", "IPV6SUBNET", "PUBLIC_IP", "PUBLIC_IPV6")
    values = [*networks, *subnets, *public_ips]
    return {
        name: None if value is None else str(value)
        for name, value in zip(names, values, strict=True)
    }


def peer_text(lease: Lease) -> str:
    """What the peer's PreStartupCommand printed; MalformedEntry if it published something else."""
    data = lease.attrs.backend_data.ipv4 or lease.attrs.backend_data.ipv6
    if data is None:
        return ""
    try:
        text = json.loads(data)
    except ValueError as error:
        raise MalformedEntry("its backend data is not JSON") from error
    if not isinstance(text, str):
        raise MalformedEntry("its backend data is not a text")
    return text.encode("utf-8", "replace").decode()
