"""The backends installed on this node, made once each: the BackendManager that agents use."""

import asyncio
from collections.abc import Sequence

from flannel_sdk.engine import discovery
from flannel_sdk.errors import FlannelError, PluginError
from flannel_sdk.interfaces import Backend, BackendContext


class InstalledBackends:
    """A BackendManager over the installed plugins; every backend is made with one ``context``."""

    def __init__(self, context: BackendContext) -> None:
        self._context = context
        self._lock = asyncio.Lock()
        self._backends: dict[str, Backend] = {}

    def available(self) -> Sequence[str]:
        """Names of the installed backends, sorted; nothing is imported."""
        return discovery.plugin_names(discovery.BACKENDS)

    async def get_backend(self, backend_type: str) -> Backend:
        """The one backend of this type (case-insensitive), made by the first call.

        Calls may come at once. A call that fails keeps nothing: the next one tries again, so that
        a plugin installed meanwhile is found. PluginError if the plugin cannot be used, or fails to
        make its backend; ConfigError where the interface does not fit it.
        """
        name = backend_type.lower()
        async with self._lock:
            backend = self._backends.get(name)
            if backend is None:
                backend = self._backends[name] = await asyncio.to_thread(self._make, name)
        return backend

    def _make(self, name: str) -> Backend:
        plugin = discovery.load_backend_plugin(name)
        try:
            return plugin.create(self._context)
        except FlannelError:
            raise
        except (Exception, SystemExit) as error:
            reason = discovery.in_one_line(error)
            raise PluginError(f"backend {name} could not be made: {reason}") from error
