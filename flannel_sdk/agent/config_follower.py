"""Follows the network's configuration in the store, and says what of a change can be applied."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing

from flannel_sdk.backoff import Trouble
from flannel_sdk.errors import PermanentError, StoreUnavailable
from flannel_sdk.interfaces import SubnetManager, SupportsConfigWatch
from flannel_sdk.model import Lease, NetworkConfig, compatible

_log = logging.getLogger(__name__)


def restart_reason(applied: NetworkConfig, newest: NetworkConfig, lease: Lease) -> str | None:
    """Why a running agent cannot go over from one configuration to another; None if it can.

    The backend's options can change under the lease's subnets, and so can what those subnets fit
    into. A network that lost addresses may have left routes to them.
    """
    if newest.backend_type != applied.backend_type:
        return f"the backend is {newest.backend_type} and not {applied.backend_type} any more"
    subnets = " and ".join(str(subnet) for _, subnet in lease.subnets.items_by_family())
    if not compatible(lease.subnets, newest):
        return f"the network gives no subnets like ours, {subnets}, any more"
    if compatible(lease.subnets, applied):
        for family, pool in applied.pools.items_by_family():
            wider = newest.pools.get(family)
            if wider is not None and not wider.network.covers(pool.network):
                return f"the network is {wider.network} and does not hold {pool.network}"
    return None


class ConfigFollower:
    """The newest valid configuration of a store beside the one that is applied; level-triggered.

    What cannot be applied is said once, and stands in ``status`` until the configuration is again
    one that can, or is the applied one.
    """

    def __init__(self, store: SubnetManager, applied: NetworkConfig) -> None:
        self._store = store
        self._newest = applied
        self._refused: NetworkConfig | None = None
        self._changed = asyncio.Event()
        self._problem: dict[str, str | None] = {"restart_needed": None, "refused": None}
        self._before: NetworkConfig | None = None
        """What was last seen to work, as long as the applied one has not been."""
        self.applied = applied
        """What the data plane is registered with, or going back to."""

    async def run(self) -> None:
        """Watch until cancelled; whatever the watch fails with, the agent goes on as it is.

        Returns at once where the store cannot tell of changes.
        """
        store: object = self._store
        if not isinstance(store, SupportsConfigWatch):
            return
        trouble = Trouble(_log, f"watching the network configuration in {self._store.name}")
        while True:
            try:
                async with aclosing(store.watch_network_config()) as configs:
                    async for config in configs:
                        trouble.over()
                        self._newest = config
                        self._changed.set()
                raise StoreUnavailable("the watch ended")
            except Exception as error:  # what is fatal for leases comes from their own watch
                await trouble.wait_out(error)

    def choose(self, lease: Lease) -> NetworkConfig:
        """The newest configuration if it can be applied under ``lease``, else the applied one."""
        newest = self._newest
        if newest == self._refused:
            return self.applied
        self._refused = None
        reason = restart_reason(self.applied, newest, lease)
        self._note(restart_needed=reason)
        return newest if reason is None else self.applied

    async def wait_chosen(self, lease: Lease, other_than: NetworkConfig) -> None:
        """Return once ``choose`` gives another configuration than ``other_than``."""
        while self.choose(lease) == other_than:
            self._changed.clear()
            await self._changed.wait()

    def apply(self, config: NetworkConfig) -> None:
        """The network is registered with ``config``."""
        if config != self.applied:
            _log.info("the changed network configuration is applied")
            self._before = self._before or self.applied
        self.applied = config

    def works(self) -> None:
        """The applied configuration serves all peers: what fails from now on is not its fault."""
        self._before = None

    def go_back(self, error: PermanentError) -> bool:
        """The network cannot run with the applied configuration: choose the one before again.

        False where it is not a changed one that has still to be seen to work.
        """
        if self._before is None:
            return False
        failed, self.applied, self._before = self.applied, self._before, None
        self.refuse(failed, error)
        self._changed.set()
        return True

    def refuse(self, config: NetworkConfig, error: PermanentError) -> None:
        """The backend cannot work with ``config``: the applied one stays until it changes again."""
        self._refused = config
        self._note(refused=str(error).removesuffix("."))

    def status(self) -> Mapping[str, object]:
        """JSON-ready: why the newest configuration is not applied, under one of two names."""
        return dict(self._problem)

    def _note(self, *, restart_needed: str | None = None, refused: str | None = None) -> None:
        problem = {"restart_needed": restart_needed, "refused": refused}
        if problem == self._problem:
            return
        self._problem = problem
        if restart_needed:
            _log.warning(
                "the network configuration has changed so that this agent has to be restarted: %s;"
                " until then it goes on with the old one",
                restart_needed,
            )
        elif refused:
            _log.warning(
                "the changed network configuration cannot be used: %s; going on with the old one",
                refused,
            )
        else:
            _log.info("the network configuration has changed again, to one that can be used")
