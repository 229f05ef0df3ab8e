"""The udp backend: IPv4 packets in UDP datagrams, by eBPF in the kernel or by our own threads."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flannel_sdk.interfaces import Backend, BackendContext

__all__ = ["plugin"]


class UdpPlugin:
    """What the entry point names; imports the rest only when a backend is made."""

    contract_version = 1

    def create(self, context: "BackendContext") -> "Backend":
        """A backend on ``context.interface``, without I/O."""
        from flannel_sdk_udp.backend import UdpBackend

        return UdpBackend(context)


plugin = UdpPlugin()
