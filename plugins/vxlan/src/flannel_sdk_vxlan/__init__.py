"""The vxlan backend: each node a VTEP on one layer-2 segment, as flannel's."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flannel_sdk.interfaces import Backend, BackendContext

__all__ = ["plugin"]


class VxlanPlugin:
    """What the entry point names; imports the rest only when a backend is made."""

    contract_version = 1

    def create(self, context: "BackendContext") -> "Backend":
        """A backend on ``context.interface``, without I/O."""
        from flannel_sdk_vxlan.backend import VxlanBackend

        return VxlanBackend(context)


plugin = VxlanPlugin()
