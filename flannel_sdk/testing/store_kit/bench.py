"""The bench of the store kit: nodes, managers of one fresh store, and waiting with a deadline."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from typing import TypeVar

from flannel_sdk.interfaces import SubnetManager
from flannel_sdk.model import ByFamily, Family, IPAddress, Lease, LeaseAttrs, Prefix, Subnets
from flannel_sdk.testing.kit.verdicts import (
    Broken,
    Skipped,
    does_not_apply,
    held,
    leave_out,
)
from flannel_sdk.testing.store_kit.harness import OpenHarness, StoreHarness

T = TypeVar("T")
AbilityT = TypeVar("AbilityT")

V4, V6 = Family.IPV4, Family.IPV6
NETWORK = '{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}'
DUAL = (
    '{"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:5::/48",'
    ' "Backend": {"Type": "vxlan"}}'
)
ONLY_IPV6 = (
    '{"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd00:5::/48",'
    ' "Backend": {"Type": "vxlan"}}'
)
TIGHT = (
    '{"Network": "10.5.0.0/27", "SubnetLen": 30, "SubnetMax": "10.5.0.20",'
    ' "Backend": {"Type": "vxlan"}}'
)
"""Five subnets."""

PATIENCE = 15.0
"""Seconds after which what was promised counts as never coming."""
SECONDS_TO_CANCEL = 1.0
LINGER = 5.0
"""Seconds that what is ending by itself may take."""


def attrs(node: int, *families: Family, mac: int = 0) -> LeaseAttrs:
    """What node ``node`` publishes, for IPv4 if no family is named; ``mac`` is part of its data."""
    public_ips: ByFamily[IPAddress] = ByFamily()
    data: ByFamily[str] = ByFamily()
    for family in families or (V4,):
        address = f"192.0.2.{node}" if family is V4 else f"2001:db8::{node:x}"
        public_ips = public_ips.with_value(family, IPAddress.parse(address))
        vtep = f"02:00:00:00:{mac:02x}:{node:02x}"
        data = data.with_value(family, f'{{"VNI":1,"VtepMAC":"{vtep}"}}')
    return LeaseAttrs(public_ips, "vxlan", data)


def subnets(text: str) -> Subnets:
    """Of an IPv4 lease."""
    return ByFamily(Prefix.parse(text))


def words(value: Subnets) -> str:
    """For sentences."""
    return " ".join(str(subnet) for _, subnet in value.items_by_family())


class Bench:
    """One store during one test."""

    def __init__(self, site: "StoreSite", harness: StoreHarness, stack: AsyncExitStack) -> None:
        self.harness = harness
        self._site = site
        self._stack = stack

    async def open(self, node: int = 1) -> SubnetManager:
        """A manager of a node; closed at the end."""
        return self.keep(await self.harness.open(node))

    def keep(self, manager: SubnetManager) -> SubnetManager:
        """Close it at the end."""

        async def close(kind: object, error: BaseException | None, trace: object) -> None:
            with suppress(Broken) if error is not None else nullcontext():
                await in_time(manager.aclose(), "aclose")

        self._stack.push_async_exit(close)
        return manager

    async def lease(self, node: int) -> Lease:
        """A lease of an IPv4 node."""
        manager = await self.open(node)
        return await in_time(manager.acquire_lease(attrs(node)), "acquire_lease")

    def able(self, ability: type[AbilityT]) -> AbilityT:
        """The harness as one that can do this; ends the test where it cannot."""
        if (reason := self._site.without.get(ability)) is not None:
            does_not_apply(reason)
        if not isinstance(self.harness, ability):
            leave_out(
                f"the harness is no {ability.__name__}: see flannel_sdk.testing.store_kit.harness"
            )
        return self.harness


class StoreSite:
    """Makes a bench for each test."""

    def __init__(
        self, open_harness: OpenHarness, without: Mapping[type, str], assigned_by: str
    ) -> None:
        self.without = without
        self._open_harness = open_harness
        self.assigned_by = assigned_by

    def chooses(self) -> None:
        """End a test about how subnets are chosen where the store does not do it."""
        if self.assigned_by:
            does_not_apply(f"{self.assigned_by} assigns the subnets")

    @asynccontextmanager
    async def bench(self, document: str | None = NETWORK) -> AsyncIterator[Bench]:
        """A fresh store, configured; Broken if its managers leave tasks behind."""
        async with self._open_harness() as harness:
            before = asyncio.all_tasks()
            async with AsyncExitStack() as stack:
                made = Bench(self, harness, stack)
                if document is not None:
                    await harness.configure(document)
                yield made
            await no_task_left(before, "its managers were closed")


async def no_task_left(before: "set[asyncio.Task[object]]", since: str) -> None:
    """Broken if tasks that are not in ``before`` do not end by themselves."""
    known = before | {asyncio.current_task()}
    await eventually(
        lambda: not asyncio.all_tasks() - known,
        lambda: f"since {since} tasks go on, such as {_one(asyncio.all_tasks() - known)}",
        LINGER,
    )


def _one(tasks: "set[asyncio.Task[object]]") -> str:
    return ", ".join(repr(task.get_coro()) for task in list(tasks)[:1])


async def eventually(
    condition: Callable[[], object], otherwise: Callable[[], str], seconds: float
) -> None:
    """Return once it is so; Broken with a sentence if it never is."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        held(loop.time() < deadline, otherwise())
        await asyncio.sleep(0.005)


async def in_time(work: Awaitable[T], what: str) -> T:
    """The result of ``work``; Broken if it does not come, or is an error."""
    try:
        return await awaited(work, what)
    except (Broken, Skipped):
        raise
    except Exception as error:
        raise Broken(f"{what} raised {type(error).__name__}: {error}") from error


async def awaited(work: Awaitable[T], what: str) -> T:
    """The result of ``work``, or its error; Broken if neither comes."""
    try:
        async with asyncio.timeout(PATIENCE) as patience:
            return await work
    except TimeoutError as error:
        if not patience.expired():
            raise
        raise Broken(f"{what} did not return within {PATIENCE:g} s") from error


async def refused(work: Awaitable[object], error: type[Exception], what: str) -> None:
    """Broken unless ``work`` raises this error."""
    try:
        result = await awaited(work, what)
    except error:
        return
    except Broken:
        raise
    except Exception as other:
        raise Broken(
            f"{what} raised {type(other).__name__} instead of {error.__name__}: {other}"
        ) from other
    raise Broken(f"{what} gave {result!r} instead of raising {error.__name__}")


async def end_of(task: "asyncio.Task[object]", what: str) -> None:
    """Wait for a task that was cancelled; Broken unless it ends so, in a second."""
    await asyncio.wait([task], timeout=SECONDS_TO_CANCEL)
    held(task.done(), f"{what} went on for more than {SECONDS_TO_CANCEL:.0f} s after its cancel")
    if not task.cancelled():
        error = task.exception()
        how = "returned" if error is None else f"raised {type(error).__name__}: {error}"
        raise Broken(f"{what} swallowed its cancellation: it {how}")
