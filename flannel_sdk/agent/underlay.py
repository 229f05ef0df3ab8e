"""The underlay of one agent: its interface as it is now, and the backend that is made on it."""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import aclosing

from flannel_sdk.backoff import Trouble, retry
from flannel_sdk.errors import FlannelError, InterfaceUnavailable, PermanentError
from flannel_sdk.hostnet.external_interface import find_external_interface, is_as_it_was
from flannel_sdk.hostnet.interface_events import interface_changes
from flannel_sdk.hostnet.interface_request import InterfaceRequest
from flannel_sdk.interfaces import Backend, BackendContext, BackendManager
from flannel_sdk.model import ExternalInterface, NetworkConfig

_log = logging.getLogger(__name__)

ROUTES_SECONDS = 30.0
"""How often an interface that was found by its routes is looked for again."""

BackendManagerFactory = Callable[[BackendContext], BackendManager]


class Underlay:
    """The newest interface that fits the request beside the one that is used; level-triggered.

    As long as the one in use still fits, it stays, with its addresses. One that is gone stays too,
    until there is another: the data plane may work all the same, and nothing else would.
    """

    def __init__(
        self,
        request: InterfaceRequest,
        config: NetworkConfig,
        netns: str | None,
        backends: BackendManagerFactory | None,
        *,
        blackhole_route: bool = False,
    ) -> None:
        self._blackhole_route = blackhole_route
        self._request = request
        self._config = config
        self._netns = netns
        self._make_manager = backends or _installed
        self._made: tuple[ExternalInterface, BackendManager] | None = None
        self._applied: ExternalInterface | None = None
        self._newest: ExternalInterface | None = None
        self._refused: ExternalInterface | None = None
        self._changed = asyncio.Event()
        self.problem: str | None = None
        """Why the interface that the host has now is not used, or that it has none."""

    @property
    def applied(self) -> ExternalInterface:
        """What the data plane is registered with; RuntimeError before ``find``."""
        if self._applied is None:
            raise RuntimeError("no interface was found yet")
        return self._applied

    async def find(self, patience: float = math.inf) -> None:
        """Wait for an interface that fits; PermanentError if there is none in ``patience`` seconds.

        Whoever named one that is not there should be told so, and not wait for ever.
        """
        try:
            async with asyncio.timeout(None if patience == math.inf else patience):
                found = await retry("choosing the underlay interface", self._find)
        except TimeoutError:
            try:
                found = await self._find()
            except InterfaceUnavailable as error:
                raise PermanentError(str(error)) from error
        self._applied = self._newest = found
        for family, pool in self._config.pools.items_by_family():
            address = found.addresses.get(family)
            if address is not None and pool.network.covers(address):
                _log.warning(
                    "the network %s covers %s's own address %s: peers become unreachable once a "
                    "node leases the subnet around it; choose a Network apart from the underlay",
                    pool.network,
                    found.name,
                    address,
                )

    async def run(self) -> None:
        """Follow the host until cancelled."""
        by_routes = self._request.can_reach is not None or not self._request.names_interface
        every = ROUTES_SECONDS if by_routes else None
        trouble = Trouble(_log, "watching the network interfaces")
        while True:
            try:
                async with aclosing(
                    interface_changes(self._netns, at_least_every=every)
                ) as changes:
                    async for heard in changes:
                        trouble.over()
                        if not (heard and by_routes and await self._is_as_it_was()):
                            await self._look()
            except Exception as error:  # the agent goes on with the interface it has
                await trouble.wait_out(error)

    def choose(self) -> ExternalInterface:
        """The newest interface if it is not refused, else the applied one."""
        newest = self._newest
        return self.applied if newest is None or newest == self._refused else newest

    async def wait_chosen(self, other_than: ExternalInterface) -> None:
        """Return once ``choose`` gives another interface than ``other_than``."""
        while self.choose() == other_than:
            self._changed.clear()
            await self._changed.wait()

    async def backend(self, interface: ExternalInterface, backend_type: str) -> Backend:
        """The backend of this type on ``interface``; PluginError or ConfigError if it cannot be."""
        if self._made is None or self._made[0] != interface:
            context = BackendContext(interface, self._netns, self._blackhole_route)
            self._made = interface, self._make_manager(context)
        return await self._made[1].get_backend(backend_type)

    def apply(self, interface: ExternalInterface) -> None:
        """The network is registered on ``interface``."""
        if interface != self.applied:
            _log.info("the network is on %s now", _told(interface))
        self._applied = interface

    def refuse(self, interface: ExternalInterface, error: PermanentError) -> None:
        """The backend cannot work on it: the applied one stays until the host changes again."""
        self._refused = interface
        self._note(f"{_told(interface)} cannot be used: {str(error).removesuffix('.')}")

    async def _find(self) -> ExternalInterface:
        families = self._config.pools.families
        return await asyncio.to_thread(
            find_external_interface, self._request, families, self._netns, self._newest
        )

    async def _is_as_it_was(self) -> bool:
        """Whether notifications were about others: then its routes are not read for each of them.

        There may be a route for each peer, and notifications for each pod that comes and goes.
        """
        newest = self._newest
        if newest is None or self.problem is not None:
            return False
        return await asyncio.to_thread(is_as_it_was, newest, self._netns)

    async def _look(self) -> None:
        try:
            found = await self._find()
        except FlannelError as error:
            self._note(str(error))
            return
        if found != self._refused:
            self._refused = None
            self._note(None)
        if found != self._newest:
            self._newest = found
            self._changed.set()

    def _note(self, problem: str | None) -> None:
        if problem == self.problem:
            return
        self.problem = problem
        if problem is not None:
            _log.warning("%s; going on with %s", problem, _told(self.applied))
        else:
            _log.info("there is an interface to use again")


def _told(interface: ExternalInterface) -> str:
    addresses = (str(address) for _, address in interface.public_ips.items_by_family())
    return f"{interface.name} ({', '.join(addresses)})"


def _installed(context: BackendContext) -> BackendManager:
    from flannel_sdk.engine.backend_manager import InstalledBackends

    return InstalledBackends(context)
