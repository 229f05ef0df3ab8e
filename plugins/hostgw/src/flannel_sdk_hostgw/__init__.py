"""The host-gw backend: nothing but routes, for nodes on one layer-2 network."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flannel_sdk.interfaces import Backend, BackendContext

__all__ = ["plugin"]


class HostGwPlugin:
    """What the entry point names; imports the rest only when a backend is made."""

    contract_version = 1

    def create(self, context: "BackendContext") -> "Backend":
        """A backend on ``context.interface``, without I/O; ConfigError behind NAT."""
        from flannel_sdk_hostgw.backend import HostGwBackend

        return HostGwBackend(context)


plugin = HostGwPlugin()
