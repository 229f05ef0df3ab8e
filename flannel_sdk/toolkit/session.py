"""One use of the kernel: its connection and a reconciler, opened and closed together."""

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import NamedTuple

from flannel_sdk.dataplane import LinuxKernel, Ownership, Reconciler
from flannel_sdk.errors import KernelRefused
from flannel_sdk.netns import run_in_netns
from flannel_sdk.threads import in_thread


class KernelSession(NamedTuple):
    """An open connection to one network namespace and what keeps it as wanted."""

    kernel: LinuxKernel
    reconciler: Reconciler


@asynccontextmanager
async def open_kernel(netns: str | None, ownership: Ownership) -> AsyncIterator[KernelSession]:
    """Sockets and a thread in ``netns`` (``BackendContext.netns``), freed at the end of the block.

    Leaving the block leaves the data plane as it is. PrivilegeError without CAP_NET_ADMIN;
    KernelRefused, which heals when the other ends, where another agent holds a device or network of
    ours: each would take the other's peers for stale.
    """
    with await _hold_in(netns, ownership):
        kernel = LinuxKernel(netns)
        try:
            yield KernelSession(kernel, Reconciler(kernel, ownership))
        finally:
            await kernel.aclose()


async def _hold_in(netns: str | None, ownership: Ownership) -> ExitStack:
    """As ``_hold``; a cancel ends once all is free again, or the next start would be refused."""
    return await in_thread(lambda: run_in_netns(netns, lambda: _hold(ownership)), ExitStack.close)


def _hold(ownership: Ownership) -> ExitStack:
    """Hold devices and networks in the calling thread's namespace until closed.

    An abstract socket is a lock that belongs to a network namespace, and ends with its process.
    """
    with ExitStack() as held:
        networks = (f"the network {network}" for network in ownership.networks)
        for subject in [*sorted(ownership.devices), *networks]:
            lock = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            try:
                lock.bind(f"\0flannel-sdk agent of {subject}")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                raise KernelRefused(
                    f"another agent serves {subject} in this network namespace: stop it, "
                    "or give this network another range and VNI",
                    errno.EBUSY,
                ) from error
        return held.pop_all()
