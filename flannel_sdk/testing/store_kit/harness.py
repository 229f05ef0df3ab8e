"""What the kit needs of a store's author: a fresh store, and a hand on it past its own rules.

``StoreHarness`` is all that is needed. Each ``Can...`` is one more thing that only the author can
do; where a harness lacks it, the requirements that need it are left out, and said to be.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from flannel_sdk.interfaces import SubnetManager
from flannel_sdk.model import Lease, LeaseAttrs, Subnets


class StoreHarness(Protocol):
    """One store, which holds no lease when a test begins."""

    async def open(self, node: int = 1) -> SubnetManager:
        """A manager as node ``node`` (1, 2, ..) has it; the kit closes it.

        Two managers of one node are its agent before and after a restart. Where others assign the
        subnets, node N is there (again) before this returns, and has 10.5.N.0/24.
        """
        ...

    async def configure(self, document: str) -> None:
        """Make ``document``, flannel's JSON, the network's configuration, or replace it."""
        ...


OpenHarness = Callable[[], AbstractAsyncContextManager[StoreHarness]]
"""Gives a fresh store, and frees what it needed at the end of the block."""


@runtime_checkable
class CanExpire(Protocol):
    """Leases that end soon."""

    async def open_short(self, node: int, seconds: float) -> SubnetManager:
        """As ``StoreHarness.open``, and leases last so long, or up to a second longer."""
        ...


@runtime_checkable
class CanTakeAway(Protocol):
    """An operator who deletes leases."""

    async def take_away(self, lease: Lease) -> None:
        """Delete the entry of ``lease``, past the store's rules."""
        ...


@runtime_checkable
class CanGiveAway(Protocol):
    """A program that overwrites leases."""

    async def give_away(self, lease: Lease, attrs: LeaseAttrs) -> None:
        """Make the entry of ``lease`` another node's, which publishes ``attrs``."""
        ...


@runtime_checkable
class CanReserve(Protocol):
    """An operator who reserves subnets."""

    async def reserve(self, subnets: Subnets, attrs: LeaseAttrs) -> None:
        """Write an entry without expiry for the node that publishes ``attrs``."""
        ...


@runtime_checkable
class CanDamage(Protocol):
    """A program that writes what is no lease beside the leases."""

    async def put_garbage(self) -> None:
        """Write one such entry, in the place of a lease of node 9; always the same one."""
        ...

    async def remove_garbage(self) -> None:
        """Remove it."""
        ...


@runtime_checkable
class CanBreak(Protocol):
    """A network that fails."""

    async def break_connections(self) -> None:
        """Break all connections of all managers to the store; new ones can be made at once."""
        ...


@runtime_checkable
class CanForget(Protocol):
    """A store that compacts its history, as etcd does."""

    async def pause_watches(self) -> None:
        """Keep what is written from now on from all watches; none is being read meanwhile."""
        ...

    async def forget_and_resume(self) -> None:
        """Forget what was written meanwhile but for its result, and let watches go on."""
        ...


@runtime_checkable
class CanCount(Protocol):
    """Somebody who sees what managers hold open."""

    def connections(self) -> int:
        """Connections to the store and watches of it that are open now, in all managers."""
        ...
