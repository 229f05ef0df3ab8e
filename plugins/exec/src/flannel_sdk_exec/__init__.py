"""The exec backend: a data plane in another language, as a supervised program."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flannel_sdk.interfaces import Backend, BackendContext

__all__ = ["plugin"]


class ExecPlugin:
    """What the entry point names; imports the rest only when a backend is made."""

    contract_version = 1

    def create(self, context: "BackendContext") -> "Backend":
        """A backend on ``context.interface``, without I/O."""
        from flannel_sdk_exec.backend import ExecBackend

        return ExecBackend(context)


plugin = ExecPlugin()
