"""The kernel's data path as the network sees it: ``Attachment`` in threads, and what repairs it."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar

from flannel_sdk.errors import RetryableError
from flannel_sdk.model import Prefix
from flannel_sdk.netns import run_in_netns
from flannel_sdk.threads import in_thread
from flannel_sdk_udp.datapath import Counter, DeviceGone, Peer, Tunnel
from flannel_sdk_udp.ebpf.attachment import Attachment

T = TypeVar("T")
_logger = logging.getLogger(__name__)
_SETTLE: Final = 0.05
"""Seconds from a hint to the look, in which more may come."""
_LEAST_PAUSE: Final = 0.5
"""Seconds between two looks, so that nobody who fights us keeps us busy."""
_AUDIT: Final = 60.0
"""Seconds between looks without any hint."""


class KernelPath:
    """As ``KernelDatapath``."""

    name = "kernel"

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._attachment = Attachment(tunnel)

    async def attach(self) -> None:
        """As ``Datapath.attach``."""
        await self._inside(self._attachment.attach)

    async def update(
        self, changed: Mapping[Prefix, Peer], removed: Collection[Prefix], *, full: bool
    ) -> None:
        """As ``Datapath.update``."""
        await self._inside(lambda: self._attachment.change_peers(changed, removed, full=full))

    async def run(self) -> None:
        """As ``Datapath.run``."""
        changes = self._attachment.changes
        assert changes is not None
        hint = asyncio.Event()

        def read() -> None:
            if changes.drain():
                hint.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(changes.socket, read)
        try:
            while True:
                await self._repair()
                try:
                    async with asyncio.timeout(_AUDIT):
                        await hint.wait()
                except TimeoutError:
                    continue
                await asyncio.sleep(_SETTLE)
                hint.clear()
        finally:
            loop.remove_reader(changes.socket)

    async def _repair(self) -> None:
        try:
            await self._inside(self._attachment.repair)
        except DeviceGone:
            raise
        except RetryableError as error:
            _logger.warning("%s; trying again at the next change", error)
        await asyncio.sleep(_LEAST_PAUSE)

    def counters(self) -> Mapping[Counter, int]:
        """As ``Datapath.counters``; since the programs were loaded."""
        return self._attachment.counters()

    async def remove(self) -> None:
        """As ``KernelDatapath.remove``."""
        await self._inside(self._attachment.remove)

    async def aclose(self) -> None:
        """As ``Datapath.aclose``."""
        await in_thread(self._attachment.close)

    async def _inside(self, work: Callable[[], T]) -> T:
        return await in_thread(lambda: run_in_netns(self._tunnel.netns, work))
