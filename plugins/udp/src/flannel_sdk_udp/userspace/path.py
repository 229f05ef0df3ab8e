"""The userspace data path: a descriptor of the TUN device, a UDP socket and two threads."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable, Collection, Mapping
from typing import Final

from flannel_sdk.dataplane import open_tun, tun_name
from flannel_sdk.errors import FlannelError, KernelRefused
from flannel_sdk.model import Prefix
from flannel_sdk.netns import run_in_netns
from flannel_sdk.threads import in_thread
from flannel_sdk_udp.datapath import Counter, DeviceGone, Peer, Tunnel
from flannel_sdk_udp.userspace.counting import Counts, no_counts
from flannel_sdk_udp.userspace.icmp import icmp_socket
from flannel_sdk_udp.userspace.inbound import Inbound
from flannel_sdk_udp.userspace.outbound import Outbound
from flannel_sdk_udp.userspace.table import Table
from flannel_sdk_udp.userspace.tables import Tables
from flannel_sdk_udp.userspace.worker import Work, Worker

_logger = logging.getLogger(__name__)
_UDP_GRO = 104
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_IP_MTU_DISCOVER, _PMTUDISC_DO = 10, 2
_AUDIT: Final = 2.0
"""Seconds between looks at what the device is called."""
_RECEIVE_BUFFER = 4 << 20
_SEND_BUFFER: Final = 8 << 20
"""Room for what waits for the neighbours of some 80 peers that are down, 200 KB each."""


class UserspacePath:
    """As ``Datapath``."""

    name = "userspace"

    def __init__(self, tunnel: Tunnel, *, alone: bool = True) -> None:
        """``alone``: no other path takes packets before this one."""
        self._tunnel = tunnel
        self._alone = alone
        self._tables = Tables(Table({}, tunnel.port))
        self._tun: int | None = None
        self._socket: socket.socket | None = None
        self._post: socket.socket | None = None
        self._workers: list[Worker] = []
        self._stopping: asyncio.Task[None] | None = None
        """The end of the threads, which whoever cancels ``run`` twice does not wait for."""
        self._before = no_counts()
        """What threads that have ended had counted."""
        self._counts: list[Counts] = []
        self._ended: asyncio.Event = asyncio.Event()
        self._why: Exception | None = None

    async def attach(self) -> None:
        """As ``Datapath.attach``; the threads start in ``run``."""
        self._release_device()
        await in_thread(lambda: run_in_netns(self._tunnel.netns, self._open))

    def _open(self) -> None:
        """What is not open yet, in the calling thread's namespace."""
        if self._socket is None:
            self._socket = bound_socket(self._tunnel, merge=self._alone)
        if self._post is None:
            try:
                self._post = icmp_socket(self._tunnel.subnet.address)
            except PermissionError:
                _logger.warning("nobody is told why packets are dropped: this needs CAP_NET_RAW")
        self._tun = open_tun(self._tunnel.device)

    async def update(
        self, changed: Mapping[Prefix, Peer], removed: Collection[Prefix], *, full: bool
    ) -> None:
        """As ``Datapath.update``: a new table takes the place of the old one."""
        addresses = {subnet: peer.address for subnet, peer in changed.items()}
        self._tables.current = self._tables.current.updated(addresses, removed, full=full)

    async def run(self) -> None:
        """As ``Datapath.run``: packets are carried as long as this runs."""
        assert self._tun is not None
        assert self._socket is not None
        ends = self._tun, self._socket, self._tables
        outbound = Outbound(*ends, mtu=self._tunnel.mtu, post=self._post)
        inbound = Inbound(*ends, post=self._post)
        self._counts = [outbound.counts, inbound.counts]
        self._ended.clear()
        ended = self._tell_end(asyncio.get_running_loop())
        netns = self._tunnel.netns
        works: tuple[tuple[str, int, Work], ...] = (
            ("flannel-udp-out", self._tun, outbound),
            ("flannel-udp-in", self._socket.fileno(), inbound),
        )
        try:
            for name, descriptor, work in works:
                self._workers.append(Worker(name, netns, descriptor, work, ended))
            await self._wait_end(self._tun)
            raise self._end()
        except (OSError, RuntimeError) as error:
            raise KernelRefused(
                f"cannot start the threads that carry packets ({error}): raise the limits of"
                " descriptors and threads (LimitNOFILE, TasksMax)",
                getattr(error, "errno", None) or errno.EAGAIN,
            ) from error
        finally:
            self._stopping = asyncio.create_task(self._stop_workers())
            await asyncio.shield(self._stopping)

    def counters(self) -> Mapping[Counter, int]:
        """As ``Datapath.counters``; since this object was made."""
        columns = zip(self._before, *self._counts, strict=True)
        return dict(zip(Counter, map(sum, columns), strict=True))

    async def aclose(self) -> None:
        """As ``Datapath.aclose``; after the threads, which would use what gets the same numbers."""
        if self._stopping is not None:
            await self._stopping
        self._release_device()
        for sock in (self._socket, self._post):
            if sock is not None:
                sock.close()
        self._socket = self._post = None

    async def _wait_end(self, tun: int) -> None:
        """Until a thread is over, or its device is not the tunnel's any more: it was renamed."""
        while tun_name(tun) == self._tunnel.device:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AUDIT):
                    await self._ended.wait()
                    return
        self._why = OSError(errno.EBADFD, "another device has the name")

    def _end(self) -> FlannelError:
        """Why a thread is over, as what ``run`` raises."""
        why = self._why
        if isinstance(why, FlannelError):
            return why
        number = why.errno if isinstance(why, OSError) and why.errno else 0
        end: FlannelError
        if number == errno.EBADFD:
            end = DeviceGone(f"the device {self._tunnel.device} is gone", errno.ENODEV)
        else:
            end = KernelRefused(f"cannot carry packets of {self._tunnel.device}: {why}", number)
        end.__cause__ = why
        return end

    def _tell_end(self, loop: asyncio.AbstractEventLoop) -> Callable[[Exception], None]:
        def tell(error: Exception) -> None:
            self._why = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(self._ended.set)

        return tell

    async def _stop_workers(self) -> None:
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.tell_to_stop()
        for worker in workers:
            await asyncio.to_thread(worker.join)
        for counts in self._counts:
            self._before = [a + b for a, b in zip(self._before, counts, strict=True)]
        self._counts = []

    def _release_device(self) -> None:
        if self._tun is not None:
            os.close(self._tun)
            self._tun = None


def bound_socket(tunnel: Tunnel, *, merge: bool = True) -> socket.socket:
    """The socket of a tunnel, in the calling thread's namespace; KernelRefused if it is taken.

    ``merge``: the kernel may hand several datagrams over as one. It merges them before a program
    on the underlay sees them, which then has to leave them alone.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((str(tunnel.source), tunnel.port))
    except OSError as error:
        sock.close()
        raise KernelRefused(
            f"cannot listen on UDP port {tunnel.port} of {tunnel.source} ({error.strerror}): stop"
            " what has it (flanneld?), or set another Backend.Port for the whole network",
            error.errno or 0,
        ) from error
    sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DO)
    if merge:
        with contextlib.suppress(OSError):  # before Linux 5.0: datagrams come one by one
            sock.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
    sock.setblocking(False)
    for forced, plain, size in (
        (_SO_RCVBUFFORCE, socket.SO_RCVBUF, _RECEIVE_BUFFER),
        (_SO_SNDBUFFORCE, socket.SO_SNDBUF, _SEND_BUFFER),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, size)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, plain, size)
    return sock
