"""A proxy on an event loop of its own, for tests that count the tasks of theirs."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from plugins.etcd.tests.proxy import Proxy


class ProxyThread:
    """A ``Proxy``; each call returns when it is done."""

    def __init__(self, loop: asyncio.AbstractEventLoop, proxy: Proxy) -> None:
        self._loop = loop
        self._proxy = proxy
        self.url = proxy.url
        self.port = proxy.port

    @property
    def open_connections(self) -> int:
        return self._proxy.open_connections

    def cut(self) -> None:
        self._call(self._proxy.cut)

    def refuse(self) -> None:
        self._call(self._proxy.refuse)

    def heal(self) -> None:
        self._call(self._proxy.heal)

    def _call(self, work: Callable[[], None]) -> None:
        async def done() -> None:
            work()

        asyncio.run_coroutine_threadsafe(done(), self._loop).result(10)


@contextmanager
def proxy_thread(port: int) -> Iterator[ProxyThread]:
    """A proxy to this port."""
    started: list[ProxyThread] = []
    ready = threading.Event()
    end = asyncio.Event()

    async def serve() -> None:
        async with Proxy(port) as proxy:
            started.append(ProxyThread(asyncio.get_running_loop(), proxy))
            ready.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="proxy")
    thread.start()
    try:
        assert ready.wait(10)
        yield started[0]
    finally:
        started[0]._loop.call_soon_threadsafe(end.set)
        thread.join(10)
