"""One thread in a network namespace that runs blocking calls one after another."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from flannel_sdk.netns import enter_netns

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """Starts with the first call and ends with ``aclose``."""

    def __init__(self, netns: str | None) -> None:
        self._netns = netns
        self._entered = netns is None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="flannel-firewall")

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of ``work``, which goes on if the caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, partial(self._inside, work, *args, **kwargs)
        )

    def _inside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._netns is not None and not self._entered:
            enter_netns(self._netns)
            self._entered = True
        return work(*args, **kwargs)

    async def aclose(self, last: Callable[[], object] | None = None) -> None:
        """Let what has begun finish, call ``last``, end the thread."""
        if last is not None:
            self._executor.submit(last)
        await asyncio.to_thread(self._executor.shutdown)
