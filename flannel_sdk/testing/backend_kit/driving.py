"""Running a network as an agent does, with an eye on what it must not do."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from flannel_sdk.errors import FlannelError
from flannel_sdk.interfaces import Network
from flannel_sdk.model import Lease, Subnets
from flannel_sdk.testing.kit.verdicts import Broken
from flannel_sdk.testing.patient_time import PatientLoop
from flannel_sdk.testing.scripted import ScriptedFeed

SECONDS_TO_APPLY = 30.0
SECONDS_TO_CANCEL = 1.0
SECONDS_ON_A_BUSY_MACHINE = 10.0
"""Of real time; in virtual time the contract's second is told exactly."""
_SLICES = 20


class Ended(Exception):
    """``run`` raised a FlannelError, which means: run me again."""


class Running:
    """A network that runs, and the feed that it reads."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.feed = ScriptedFeed()
        self._stopped = False
        self.task = asyncio.create_task(network.run(self.feed))

    async def full(self, peers: Sequence[Lease] = ()) -> None:
        """Say that ``peers`` are all; returns when the network asks for the next update."""
        await self._applied(asyncio.ensure_future(self.feed.full(peers)), "a full update")

    async def change(self, changed: Sequence[Lease] = (), removed: Sequence[Subnets] = ()) -> None:
        """Say what changed; returns when the network asks for the next update."""
        await self._applied(asyncio.ensure_future(self.feed.change(changed, removed)), "an update")

    async def _applied(self, telling: "asyncio.Future[None]", what: str) -> None:
        try:
            await asyncio.wait(
                [telling, self.task],
                timeout=SECONDS_TO_APPLY,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if telling.done():
                return
            self.check()
            raise Broken(f"run did not ask for more within {SECONDS_TO_APPLY:.0f} s of {what}")
        finally:
            telling.cancel()
            await asyncio.wait([telling])

    def check(self) -> None:
        """Raise if ``run`` has ended: Ended if it may be run again, Broken otherwise."""
        if self._stopped or not self.task.done():
            return
        if self.task.cancelled():
            raise Broken("run was cancelled from within")
        error = self.task.exception()
        if error is None:
            raise Broken("run returned, which it never does by itself")
        if isinstance(error, FlannelError):
            raise Ended(f"run raised {type(error).__name__}: {error}") from error
        raise Broken(
            f"run raised {type(error).__name__}, which is no FlannelError: {error}"
        ) from error

    async def stop(self) -> None:
        """Cancel it; Broken unless it ends as cancelled, in a second."""
        if not self.task.done():
            self._stopped = True
            self.task.cancel()
            await end_of(self.task, "run")


async def end_of(task: "asyncio.Task[object]", what: str) -> None:
    """Wait for a task that was cancelled; Broken unless that is how it ends, in time."""
    virtual = isinstance(asyncio.get_running_loop(), PatientLoop)
    seconds = SECONDS_TO_CANCEL if virtual else SECONDS_ON_A_BUSY_MACHINE
    for _ in range(_SLICES):  # so that a machine that stands still costs the task nothing
        await asyncio.wait([task], timeout=seconds / _SLICES)
        if task.done():
            break
    if not task.done():
        raise Broken(f"{what} went on for more than {seconds:.0f} s after its cancel")
    if task.cancelled():
        return
    error = task.exception()
    how = "returned" if error is None else f"raised {type(error).__name__}: {error}"
    raise Broken(f"{what} swallowed its cancellation: it {how}")


@asynccontextmanager
async def running(network: Network) -> AsyncIterator[Running]:
    """The network runs within; an end that nobody asked for is Broken."""
    run = Running(network)
    try:
        yield run
        try:
            run.check()
        except Ended as ended:
            raise Broken(str(ended)) from ended
    except Ended as ended:
        raise Broken(str(ended)) from ended
    finally:
        await run.stop()
