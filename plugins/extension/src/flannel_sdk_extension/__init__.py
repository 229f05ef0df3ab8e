"""The extension backend: a data plane made by commands that the configuration holds."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flannel_sdk.interfaces import Backend, BackendContext

__all__ = ["plugin"]


class ExtensionPlugin:
    """What the entry point names; imports the rest only when a backend is made."""

    contract_version = 1

    def create(self, context: "BackendContext") -> "Backend":
        """A backend on ``context.interface``, without I/O."""
        from flannel_sdk_extension.backend import ExtensionBackend

        return ExtensionBackend(context)


plugin = ExtensionPlugin()
