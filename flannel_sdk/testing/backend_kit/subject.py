"""The backend that is judged: its plugin and the facts that its author states."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flannel_sdk.engine.discovery import load_backend_plugin
from flannel_sdk.errors import PluginError
from flannel_sdk.interfaces import BackendPlugin
from flannel_sdk.model import Family
from flannel_sdk.testing.kit.verdicts import leave_out


@dataclass(frozen=True)
class BackendSubject:
    """A backend and what its author says about it."""

    name: str
    """Its entry point, and the ``Backend.Type`` of configurations."""
    given: BackendPlugin | None = None
    """The plugin itself; None: the one that is installed under ``name``."""
    options: Mapping[str, object] = field(default_factory=dict)
    """The other members of the ``Backend`` object."""

    families: Sequence[tuple[Family, ...]] | None = None
    """The combinations that it serves, the widest last; None: those that it registers with."""
    dataplane: bool = True
    """False: it leases a subnet, and what carries the traffic is somebody else's affair."""
    memory_kernel: bool | None = None
    """Whether it reaches the kernel through ``toolkit.open_kernel``; None: found by trying."""

    def load(self) -> BackendPlugin:
        """The plugin; PluginError if it cannot be used."""
        if self.given is not None:
            return self.given
        return load_backend_plugin(self.name)

    @property
    def plugin(self) -> BackendPlugin:
        """The plugin; ends the test where it does not load, for one requirement is about that."""
        try:
            return self.given or _installed(self.name)
        except PluginError:
            leave_out("the backend does not load: see B001")


@functools.cache
def _installed(name: str) -> BackendPlugin:
    return load_backend_plugin(name)  # it reads what all distributions say of themselves
