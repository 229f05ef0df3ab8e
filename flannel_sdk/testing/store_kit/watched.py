"""A watch of all leases as a reader sees it: read in the background, judged as it goes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TypeVar

from flannel_sdk.interfaces import SubnetManager
from flannel_sdk.model import (
    Lease,
    LeaseAttrs,
    LeaseDelta,
    LeaseSnapshot,
    Subnets,
    format_subnet_key,
)
from flannel_sdk.testing.kit.verdicts import Broken
from flannel_sdk.testing.store_kit.bench import PATIENCE, awaited, words

T = TypeVar("T")


class Watched:
    """What a watch has told."""

    def __init__(self) -> None:
        self.leases: dict[Subnets, Lease] = {}
        self.malformed: dict[str, str] = {}
        self.items: list[LeaseSnapshot | LeaseDelta] = []
        self._as_told: list[tuple[object, ...]] = []
        self.problem: str | None = None
        self.news = asyncio.Event()

    def attrs(self) -> dict[Subnets, LeaseAttrs]:
        """What each lease publishes."""
        return {held: lease.attrs for held, lease in self.leases.items()}

    def are_as_told(self) -> bool:
        """Whether each item has in it what it had when it came."""
        return self._as_told == [_content(item) for item in self.items]

    def take(self, item: LeaseSnapshot | LeaseDelta) -> None:
        """Take in one item as a peer feed does."""
        if isinstance(item, LeaseSnapshot):
            self.leases = {lease.subnets: lease for lease in item.leases}
            self.malformed.clear()
            if len(self.leases) != len(item.leases):
                self.problem = "a snapshot has the same subnets twice"
        elif not self.items:
            self.problem = "the first item is a delta: nothing can be read from it"
        else:
            self.leases.update((lease.subnets, lease) for lease in item.changed)
            for gone in item.removed:
                self.leases.pop(gone, None)
            said = [*item.removed, *(lease.subnets for lease in item.changed)]
            for key in [*item.cleared, *map(format_subnet_key, said)]:
                self.malformed.pop(key, None)
        self.malformed.update((entry.key, entry.reason) for entry in item.malformed)
        self.items.append(item)
        self._as_told.append(_content(item))
        self.news.set()

    async def until(self, condition: Callable[["Watched"], object], what: str) -> None:
        """Return once it is so; Broken with ``what`` if that never comes, or the watch ends."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    if self.problem is not None:
                        raise Broken(self.problem)
                    if self.items and condition(self):
                        return
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            told = ", ".join(words(one) for one in self.leases) or "no lease"
            raise Broken(f"{what} is not told within {PATIENCE:g} s; it knows {told}") from None

    async def until_or(self, condition: Callable[["Watched"], object], seconds: float) -> None:
        """Return once it is so, or after ``seconds``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.until(condition, "it")

    def knows(self, *leases: Lease) -> bool:
        """Whether it knows of these leases, with what they publish, and of no other."""
        return self.attrs() == {lease.subnets: lease.attrs for lease in leases}


def _content(item: LeaseSnapshot | LeaseDelta) -> tuple[object, ...]:
    if isinstance(item, LeaseSnapshot):
        return (*item.leases, *item.malformed)
    return (*item.changed, *item.removed, *item.malformed, *item.cleared)


@asynccontextmanager
async def watching(manager: SubnetManager) -> AsyncIterator[Watched]:
    """Watch within; Broken if the watch ends or raises."""
    watched = Watched()
    items = manager.watch_leases()

    async def read() -> None:
        try:
            async with aclosing(items):
                async for item in items:
                    watched.take(item)
            watched.problem = "the watch ended"
        except Exception as error:
            watched.problem = f"the watch raised {type(error).__name__}: {error}"
        watched.news.set()

    reading = asyncio.create_task(read())
    try:
        yield watched
    finally:
        reading.cancel()
        await asyncio.wait([reading], timeout=PATIENCE)


async def next_of(items: AsyncGenerator[T, None], what: str) -> T:
    """The next item; Broken if there is none."""
    try:
        return await awaited(anext(items), what)
    except StopAsyncIteration:
        raise Broken(f"{what}: the watch ended") from None
    except Broken:
        raise
    except Exception as error:
        raise Broken(f"{what}: the watch raised {type(error).__name__}: {error}") from error


def knows(*leases: Lease) -> Callable[[Watched], bool]:
    """Whether a watch knows of these leases and no other."""
    return lambda watched: watched.knows(*leases)
