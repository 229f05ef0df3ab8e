"""The lease keeper: acquires this node's lease, renews it, and gets it back when it is lost."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import replace

from flannel_sdk.backoff import Backoff, Trouble, retry
from flannel_sdk.engine.store_meter import StoreMeter
from flannel_sdk.errors import ConfigError, LeaseLost, PermanentError, StoreUnavailable
from flannel_sdk.interfaces import SubnetManager
from flannel_sdk.model import (
    UNKNOWN_EXPIRY,
    Lease,
    LeaseAttrs,
    LeaseGone,
    Subnets,
    encode_attrs,
    is_same_node,
)

_log = logging.getLogger(__name__)

LONGEST_SLEEP = 60.0
"""Seconds: the wall clock is read again this often, since it may jump and the host may sleep."""

FIRST_RENEWAL_RETRY = 1.0
"""Seconds; a renewal that failed has a margin of an hour to succeed in."""

UNKNOWN_EXPIRY_SECONDS = 60.0
"""A lease of ours whose end the store does not tell is renewed after this: it may be near."""

CALM_SECONDS = 300.0
"""A lease that is lost again, or overwritten again, sooner than this is contested: wait first."""

FIRST_CONTEST_WAIT = 1.0
"""Seconds; without them two nodes with one public IP would write without a pause, and a node whose
own entry is never recognised would lease subnet after subnet."""


class LeaseKeeper:
    """Holds one lease in one store for as long as ``run`` runs; a LeaseAcquirer for the backend.

    A lease that is lost is acquired again at once, with the same subnet if it is free. What
    somebody else wrote into it is replaced by what the backend published. Each further time comes
    later, so that a contest costs little. A backend is not called back: whoever runs the network
    waits for ``subnets_changed`` and registers again.
    """

    def __init__(
        self,
        store: SubnetManager,
        *,
        renew_margin: float = 3600.0,
        previous: Subnets | None = None,
        meter: StoreMeter | None = None,
    ) -> None:
        """``renew_margin``: seconds before its expiry that a lease is renewed."""
        self._store = store
        self._meter = meter or StoreMeter(store)
        self._margin = renew_margin
        self._previous = previous
        self._lease: Lease | None = None
        self._renew_at: float | None = None
        """Unix time."""
        self._renew_by = 0.0
        """The same by the monotonic clock: the wall clock may be set back by days."""
        self._reacquiring = asyncio.Lock()
        self._changed = asyncio.Event()
        self._published: LeaseAttrs | None = None
        self._contest = Backoff(first=FIRST_CONTEST_WAIT, limit=60.0)
        self._contested_at = -CALM_SECONDS
        self._renewals = 0
        self._reacquisitions = 0
        self._last_error: str | None = None
        self._is_lost = False

    @property
    def lease(self) -> Lease:
        """The lease held now; RuntimeError before the first acquisition."""
        if self._lease is None:
            raise RuntimeError("no lease was acquired yet")
        return self._lease

    async def acquire_lease(self, attrs: LeaseAttrs) -> Lease:
        """Acquire, or publish other attributes for the lease held; what can heal is waited out.

        The lease held stays the same also where the public IP is another now.
        """
        self._published = attrs
        held = self._lease
        if held is not None and not is_same_node(held.attrs.public_ips, attrs.public_ips):
            # Its watch takes it for somebody else's until this is done.
            async with self._reacquiring:
                moved = await retry(
                    f"publishing another public IP in {self._store.name}",
                    lambda: self._move(self._published or attrs),
                )
            if moved is not None:
                return moved
        return await self._acquire_again(attrs)

    async def _move(self, attrs: LeaseAttrs) -> Lease | None:
        """One attempt to publish another public IP for the lease held; None if it is lost."""
        try:
            lease = await self._meter.measured(
                "renew_lease", self._store.renew_lease(replace(self.lease, attrs=attrs))
            )
        except LeaseLost:
            return None
        _log.info(
            "lease %s is published with %s now",
            " ".join(str(subnet) for subnet in lease.subnets if subnet),
            " ".join(str(address) for _, address in attrs.public_ips.items_by_family()),
        )
        self._set(lease)
        return lease

    async def _acquire_again(self, attrs: LeaseAttrs) -> Lease:
        previous = self._lease.subnets if self._lease else self._previous
        lease = await retry(
            f"acquiring a lease from {self._store.name}",
            # By the time that it succeeds, others may have been asked for meanwhile.
            lambda: self._acquire(self._published or attrs, previous),
        )
        if lease != self._lease:
            _log.info("lease %s", " ".join(str(subnet) for subnet in lease.subnets if subnet))
        self._set(lease)
        return lease

    async def _acquire(self, attrs: LeaseAttrs, previous: Subnets | None) -> Lease:
        """One attempt. Who had a lease waits also for a configuration that somebody broke.

        At the start it is an error like any other in what the user wrote; later it must not end
        every agent of a cluster, whose data planes are fine.
        """
        try:
            lease = await self._meter.measured(
                "acquire_lease", self._store.acquire_lease(attrs, previous)
            )
        except Exception as error:
            self._last_error = str(error)
            if isinstance(error, ConfigError) and self._lease is not None:
                raise StoreUnavailable(str(error)) from error
            raise
        self._last_error = None
        return lease

    def _set(self, lease: Lease) -> None:
        self._lease = lease
        self._is_lost = False
        self._renew_at = None
        if lease.expires_at == UNKNOWN_EXPIRY:
            self._renew_at = time.time() + UNKNOWN_EXPIRY_SECONDS
        elif lease.expires_at is not None:
            # A margin as long as the lease itself would renew without a pause.
            margin = min(self._margin, (lease.expires_at - time.time()) / 2)
            self._renew_at = lease.expires_at - margin
        if self._renew_at is not None:
            self._renew_by = time.monotonic() + self._renew_at - time.time()
        self._changed.set()

    async def subnets_changed(self, known: Subnets) -> Lease:
        """Wait until the lease has other subnets than ``known``, and give it."""
        while self.lease.subnets == known:
            self._changed.clear()
            await self._changed.wait()
        return self.lease

    async def run(self) -> None:
        """Keep the lease until cancelled; call it after the first acquisition."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew_in_time(), name="lease renewal")
            tasks.create_task(self._guard(), name="lease guard")

    async def _renew_in_time(self) -> None:
        """Renew at expiry minus margin; a lease that is replaced or prolonged moves the time."""
        while True:
            await self._sleep_until_due()
            await self._renew()

    def _due(self) -> float | None:
        """Seconds until the renewal; None for a reservation."""
        if self._renew_at is None:
            return None
        return min(self._renew_at - time.time(), self._renew_by - time.monotonic())

    async def _sleep_until_due(self) -> None:
        while (due := self._due()) is None or due > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(due or LONGEST_SLEEP, LONGEST_SLEEP)):
                    await self._changed.wait()

    async def _renew(self) -> None:
        backoff = Backoff(first=FIRST_RENEWAL_RETRY, limit=60.0)
        trouble = Trouble(_log, f"renewing the lease in {self._store.name}", backoff)
        while True:
            lease = self.lease
            try:
                renewed = await self._meter.measured("renew_lease", self._store.renew_lease(lease))
            except LeaseLost as lost:
                await self._reacquire(lease, str(lost))
                return
            except PermanentError:
                raise
            except Exception as error:  # also a store's defect, which must not end the agent
                self._last_error = str(error)
                await trouble.wait_out(error)
            else:
                self._last_error = None
                self._renewals += 1
                if self.lease is lease:
                    self._set(renewed)
                trouble.over()
                return

    async def _guard(self) -> None:
        """Notice at once that the store's entry is gone or somebody else's."""
        trouble = Trouble(_log, f"watching our lease in {self._store.name}")
        while True:
            lease = self.lease
            try:
                async with aclosing(self._store.watch_lease(lease)) as states:
                    async for state in states:
                        trouble.over()
                        if not self._is_same(lease):
                            break
                        if isinstance(state, LeaseGone):
                            await self._reacquire(self.lease, state.reason)
                            break
                        if state.lease.revision > self.lease.revision:
                            await self._take_over(state.lease)
                    else:
                        raise StoreUnavailable("the watch of our own lease ended")
            except PermanentError:
                raise
            except Exception as error:  # also a store's defect, which must not end the agent
                await trouble.wait_out(error)

    def _is_same(self, lease: Lease) -> bool:
        """Whether what a watch of ``lease`` tells is about the lease held."""
        held = self.lease
        return held.subnets == lease.subnets and is_same_node(
            held.attrs.public_ips, lease.attrs.public_ips
        )

    async def _take_over(self, found: Lease) -> None:
        """Take the entry's expiry and revision; what it publishes stays what our backend said."""
        published = self._published
        if published is None or encode_attrs(found.attrs) == encode_attrs(published):
            self._set(found)
            return
        _log.warning(
            "somebody changed what our lease publishes (is there another node with our public IP?);"
            " publishing ours again"
        )
        await self._pause_if_contested()
        ours = await self._store.renew_lease(replace(found, attrs=self._published or published))
        if self.lease.subnets == ours.subnets:
            self._set(ours)

    async def _pause_if_contested(self) -> None:
        if time.monotonic() - self._contested_at >= CALM_SECONDS:
            self._contest.reset()
        else:
            await asyncio.sleep(self._contest.next_delay())
        self._contested_at = time.monotonic()

    async def _reacquire(self, lost: Lease, reason: str) -> None:
        async with self._reacquiring:
            if self.lease is not lost:
                return  # the other task was faster
            _log.warning("the lease was lost (%s); acquiring it again", reason)
            self._is_lost = True
            self._reacquisitions += 1
            await self._pause_if_contested()
            if self.lease is lost:
                await self._acquire_again(self._published or lost.attrs)

    @property
    def holds(self) -> bool:
        """Whether the lease is ours now, as far as the store has told, and has not run out."""
        lease = self._lease
        if lease is None or self._is_lost:
            return False
        return lease.expires_at in {None, UNKNOWN_EXPIRY} or lease.expires_at > time.time()

    def status(self) -> Mapping[str, object]:
        """JSON-ready counters."""
        return {
            "holds": self.holds,
            "renewals": self._renewals,
            "reacquisitions": self._reacquisitions,
            "last_error": self._last_error,
        }
