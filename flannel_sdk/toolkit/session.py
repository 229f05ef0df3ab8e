"""One use of the kernel: its connection and a reconciler, opened and closed together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from flannel_sdk.dataplane import LinuxKernel, Ownership, Reconciler


class KernelSession(NamedTuple):
    """An open connection to one network namespace and what keeps it as wanted."""

    kernel: LinuxKernel
    reconciler: Reconciler


@asynccontextmanager
async def open_kernel(netns: str | None, ownership: Ownership) -> AsyncIterator[KernelSession]:
    """Sockets and a thread in ``netns`` (``BackendContext.netns``), freed at the end of the block.

    Leaving the block leaves the data plane as it is. PrivilegeError without CAP_NET_ADMIN.
    """
    kernel = LinuxKernel(netns)
    try:
        yield KernelSession(kernel, Reconciler(kernel, ownership))
    finally:
        await kernel.aclose()
