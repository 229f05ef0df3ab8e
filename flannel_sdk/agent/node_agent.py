"""NodeAgent: one network on one node, from the store to the kernel; the thing to embed."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, aclosing

from flannel_sdk.agent.config_follower import ConfigFollower
from flannel_sdk.agent.facts import config_facts, interface_facts, lease_facts
from flannel_sdk.agent.host_rules import former_addresses, make_firewall, rule_addresses
from flannel_sdk.agent.node_record import asked_interface, holder_names, tell_ready
from flannel_sdk.agent.options import AgentOptions
from flannel_sdk.agent.races import either, unless
from flannel_sdk.agent.subnet_env import SubnetEnv
from flannel_sdk.agent.underlay import BackendManagerFactory, Underlay
from flannel_sdk.backoff import Trouble, retry
from flannel_sdk.engine.feed import LeaseFeed
from flannel_sdk.engine.keeper import LeaseKeeper
from flannel_sdk.engine.store_meter import StoreMeter
from flannel_sdk.errors import PermanentError, RetryableError, StoreUnavailable
from flannel_sdk.hostnet.firewall import Firewall
from flannel_sdk.interfaces import (
    Backend,
    Network,
    PlannedChange,
    SubnetManager,
    SupportsPlan,
    SupportsRetire,
    SupportsStatus,
)
from flannel_sdk.model import NetworkConfig
from flannel_sdk.task_groups import single_error

_log = logging.getLogger(__name__)

RAN_WELL_SECONDS = 60.0
"""A data plane that ran this long before it failed is run again soon."""

_PUBLISH_SECONDS = 1.0
"""The data plane waits no longer for a subnet.env that cannot be written."""


class NodeAgent:
    """Joins this node to the network that a store describes, and keeps it joined.

    Where the store tells of changes, the network's configuration is followed: what leaves us our
    subnet is applied live, anything else is logged and in ``status`` under ``config``. So is the
    underlay interface: with other addresses, another MTU or another interface the network is
    registered again, under the same lease.
    It reads no environment, handles no signal, exits no process and keeps no global: several
    agents run in one event loop, each with a store, a subnet file and a status socket of its own.
    """

    def __init__(
        self,
        store: SubnetManager,
        options: AgentOptions | None = None,
        *,
        backends: BackendManagerFactory | None = None,
    ) -> None:
        """``store`` stays the caller's to close. ``backends``: by default the installed plugins."""
        self._store = store
        self._meter = StoreMeter(store)
        self._options = options or AgentOptions()
        self._backends = backends
        self._registered = asyncio.Event()
        self._converged = asyncio.Event()
        self._follower: ConfigFollower | None = None
        self._underlay: Underlay | None = None
        self._keeper: LeaseKeeper | None = None
        self._feed: LeaseFeed | None = None
        self._network: Network | None = None
        self._predecessors: list[Network] = []
        """Registered with configurations that are applied no more, and not yet cleared away."""
        self._firewall: Firewall | None = None
        self._subnet_env = SubnetEnv(
            self._options.subnet_file, ip_masq=self._options.firewall.ip_masq
        )
        self._failures = 0
        self._serving = False
        """Whether ``feed`` is fed: not while a network is registered again."""

    async def run(self) -> None:
        """Serve until cancelled; the data plane stays as it is then.

        What can heal by itself is waited out. PermanentError (ConfigError, PluginError,
        PrivilegeError, ..) where somebody has to change something first.
        """
        async with AsyncExitStack() as stack:
            if self._options.health.port:
                from flannel_sdk.agent.health import serving_health

                await stack.enter_async_context(
                    serving_health(self._options.health, self.status, self._meter)
                )
            if self._options.status_socket is not None:
                from flannel_sdk.agent.status_socket import serve_status

                await stack.enter_async_context(
                    serve_status(
                        self._options.status_socket,
                        {
                            "status": self._status,
                            "peers": self._peers,
                            "plan": self._plan,
                            "inspect": self._inspect,
                        },
                    )
                )
            with single_error():
                await self._join()

    async def wait_registered(self) -> Network:
        """The network, once the lease is held, the device is up and subnet.env is written.

        Waits for ever where ``run`` has failed: run both in one TaskGroup.
        """
        await self._registered.wait()
        assert self._network is not None
        return self._network

    async def wait_converged(self) -> None:
        """Return once the peers of a first snapshot are in the kernel; waits for ever as above."""
        await self._converged.wait()

    async def _join(self) -> None:
        store = self._store
        config = await retry(
            f"reading the network configuration from {store.name}",
            lambda: self._meter.measured("get_network_config", store.get_network_config()),
        )
        wanted = await asked_interface(store, self._options.interface)
        underlay = Underlay(
            wanted,
            config,
            self._options.netns,
            self._backends,
            blackhole_route=self._options.ip_blackhole_route,
        )
        await underlay.find(self._options.interface_patience)
        self._underlay = underlay
        backend = await underlay.backend(underlay.applied, config.backend_type)
        keeper = self._keeper = LeaseKeeper(
            store,
            renew_margin=self._options.renew_margin,
            previous=self._subnet_env.previous_subnets(),
            meter=self._meter,
        )
        follower = self._follower = ConfigFollower(store, config)
        options = self._options
        firewall = self._firewall = make_firewall(options.firewall, config, options.netns)
        network = await self._register(backend, config, keeper)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keeper.run(), name="lease keeper")
            tasks.create_task(follower.run(), name="configuration watch")
            tasks.create_task(underlay.run(), name="interface watch")
            tasks.create_task(firewall.run(), name="firewall rules")
            while True:
                served = follower.applied
                await self._serve_network(network, follower, keeper, underlay)
                self._serving = False
                before, network = network, await self._register_newest(follower, keeper, underlay)
                if follower.applied != served:
                    self._predecessors.append(before)

    async def _register(
        self, backend: Backend, config: NetworkConfig, keeper: LeaseKeeper
    ) -> Network:
        network = self._network = await retry(
            f"registering the {config.backend_type} network",
            lambda: backend.register_network(config, keeper),
        )
        return network

    async def _register_newest(
        self, follower: ConfigFollower, keeper: LeaseKeeper, underlay: Underlay
    ) -> Network:
        """Register with the newest configuration and interface, however often they change."""
        while True:
            config, interface = follower.choose(keeper.lease), underlay.choose()
            try:
                backend = await underlay.backend(interface, config.backend_type)
                network = await unless(
                    either(
                        follower.wait_chosen(keeper.lease, other_than=config),
                        underlay.wait_chosen(other_than=interface),
                    ),
                    self._register(backend, config, keeper),
                )
            except PermanentError as error:
                if interface != underlay.applied:
                    underlay.refuse(interface, error)
                elif config != follower.applied:
                    follower.refuse(config, error)
                else:
                    raise
                continue
            if network is None:
                continue
            follower.apply(config)
            underlay.apply(interface)
            return network

    async def _publish(self, network: Network, config: NetworkConfig) -> None:
        """Set the firewall rules and write subnet.env; then the network counts as registered.

        Pods start once there is a subnet.env, and find the rules there.
        """
        if self._firewall is not None:
            former = await asyncio.to_thread(former_addresses, self._subnet_env.path)
            await self._firewall.apply(rule_addresses(config, network.lease), former)
        await self._subnet_env.publish(network, config)
        self._registered.set()

    async def _serve_network(
        self, network: Network, follower: ConfigFollower, keeper: LeaseKeeper, underlay: Underlay
    ) -> None:
        """Run ``network`` until it has to be registered again.

        That is when the lease has other subnets, when another configuration can be applied, and
        when the underlay is another one.
        """
        config = follower.applied
        feed = self._feed = LeaseFeed(config, network.lease, holder_names(self._store))
        self._serving = True
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._follow(feed), name="lease watch")
            publishing = tasks.create_task(self._publish(network, config), name="subnet file")
            # Whoever reads subnet.env because we say "running" should not find an old one.
            await asyncio.wait([publishing], timeout=_PUBLISH_SECONDS)
            running = tasks.create_task(self._run_network(network, feed, follower), name="network")
            converging = tasks.create_task(
                self._note_convergence(feed, network, follower), name="convergence"
            )
            await either(
                follower.wait_chosen(keeper.lease, other_than=config),
                keeper.subnets_changed(network.lease.subnets),
                underlay.wait_chosen(other_than=underlay.applied),
            )
            for task in (watching, running, publishing, converging):
                task.cancel()

    async def _note_convergence(
        self, feed: LeaseFeed, network: Network, follower: ConfigFollower
    ) -> None:
        await feed.wait_converged()
        follower.works()
        self._converged.set()
        while self._predecessors:
            predecessor: object = self._predecessors[0]
            if isinstance(predecessor, SupportsRetire):
                try:
                    await predecessor.retire(network)
                except Exception as error:  # what stays behind harms nobody who has to be served
                    _log.warning("what the old configuration needed was not removed: %s", error)
            self._predecessors.pop(0)
        await self._registered.wait()
        await tell_ready(self._store, network.lease)

    async def _follow(self, feed: LeaseFeed) -> None:
        trouble = Trouble(_log, f"watching the leases in {self._store.name}")
        while True:
            try:
                async with aclosing(self._store.watch_leases()) as items:
                    async for item in items:
                        trouble.over()
                        self._meter.heard()
                        feed.apply(item)
                raise StoreUnavailable("the watch ended")
            except PermanentError:
                raise
            except Exception as error:  # also a store's defect, which must not end the agent
                await trouble.wait_out(error)

    async def _run_network(
        self, network: Network, feed: LeaseFeed, follower: ConfigFollower
    ) -> None:
        trouble = Trouble(_log, "the data plane stopped")
        while True:
            started = time.monotonic()
            problem: Exception
            try:
                await network.run(feed)
                problem = RetryableError("the backend ended by itself")
            except PermanentError as error:
                if follower.go_back(error):
                    return
                raise
            except Exception as error:  # also a plugin's defect, which must not end the agent
                problem = error
            self._failures += 1
            if time.monotonic() - started >= RAN_WELL_SECONDS:
                trouble.backoff.reset()
            await trouble.wait_out(problem)

    async def plan(self) -> Sequence[PlannedChange]:
        """What a reconciliation would change in the kernel now; nothing is written.

        PermanentError before the network is registered and for a backend that cannot tell.
        """
        network: object = self._network
        if not isinstance(network, SupportsPlan):
            raise PermanentError("there is no plan: the network is not registered or cannot tell")
        return await network.plan()

    def status(self) -> Mapping[str, object]:
        """JSON-ready facts about everything this agent holds; cheap, without I/O."""
        network, feed, keeper = self._network, self._feed, self._keeper
        follower = self._follower
        plane: object = network
        settled = self._serving and feed is not None and feed.settled
        return {
            "state": "running" if settled else "starting",
            "store": self._store.name,
            "backend": follower.applied.backend_type if follower else None,
            "config": follower.status() if follower else None,
            "interface": interface_facts(self._underlay),
            "lease": lease_facts(network.lease) if network else None,
            "mtu": network.mtu if network else None,
            "feed": feed.status() if feed else None,
            "keeper": keeper.status() if keeper else None,
            "firewall": self._firewall.status() if self._firewall else None,
            "subnet_file": self._subnet_env.status(),
            "dataplane": plane.status() if isinstance(plane, SupportsStatus) else None,
            "restarts": self._failures,
            "store_contact": self._meter.status(),
        }

    async def _status(self) -> object:
        return self.status()

    async def _peers(self) -> object:
        return [] if self._feed is None else [lease_facts(peer) for peer in self._feed.peers()]

    async def _plan(self) -> object:
        return [
            {"action": change.action, "kind": change.kind, "subject": change.subject}
            for change in await self.plan()
        ]

    async def _inspect(self) -> object:
        from flannel_sdk.agent.inspection import inspect_store

        if self._feed is None or self._keeper is None or self._follower is None:
            raise RetryableError("it has not registered its network yet")
        return {
            "netns": self._options.netns,
            "renew_margin": self._options.renew_margin,
            "healthz_port": self._options.health.port,
            "config": config_facts(self._follower.applied),
            "store": await inspect_store(self._store, self._feed, self._keeper.lease),
        }
