"""The real kernel: one thread, in a network namespace, with the netlink sockets."""

from collections.abc import Sequence

from flannel_sdk.dataplane.objects import ResolvedRoute
from flannel_sdk.model import IPAddress


class LinuxKernel:
    """The kernel of one network namespace."""

    def __init__(self, netns: str | None = None) -> None:
        self.netns = netns

    async def aclose(self) -> None:
        """Close the sockets and end the thread; idempotent."""

    async def lookup_routes(self, addresses: Sequence[IPAddress]) -> dict[IPAddress, ResolvedRoute]:
        """The way that the kernel takes to each address now; those it has none for are absent."""
        raise NotImplementedError
