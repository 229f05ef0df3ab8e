"""The alloc backend: a lease and nothing else; the smallest example of a backend."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flannel_sdk.interfaces import Backend, BackendContext

__all__ = ["plugin"]


class AllocPlugin:
    """What the entry point names; imports the rest only when a backend is made."""

    contract_version = 1

    def create(self, context: "BackendContext") -> "Backend":
        """A backend on ``context.interface``, without I/O."""
        from flannel_sdk_alloc.backend import AllocBackend

        return AllocBackend(context)


plugin = AllocPlugin()
