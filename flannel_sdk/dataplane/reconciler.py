"""The reconciler: keeps the kernel as a backend declares it."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

from flannel_sdk.dataplane.kernel import LinuxKernel
from flannel_sdk.dataplane.objects import KernelObject
from flannel_sdk.dataplane.ownership import Ownership
from flannel_sdk.interfaces import PlannedChange
from flannel_sdk.model import MacAddress


class Reconciler:
    """Brings desired objects into the kernel and keeps them there."""

    def __init__(
        self, kernel: LinuxKernel, ownership: Ownership, *, audit_interval: float = 60.0
    ) -> None:
        self.kernel = kernel
        self.ownership = ownership

    async def set_node(self, objects: Sequence[KernelObject]) -> None:
        """Make, adopt or remake this node's own devices and addresses now."""
        raise NotImplementedError

    async def device_mac(self, name: str) -> MacAddress:
        """The MAC that the real device has."""
        raise NotImplementedError

    async def update(
        self,
        changed: Iterable[tuple[Hashable, Sequence[KernelObject]]],
        removed: Iterable[Hashable] = (),
        *,
        full: bool,
    ) -> None:
        """Take the objects of some peers, or with ``full`` of all, and write the differences."""
        raise NotImplementedError

    async def run(self) -> None:
        """Repair, retry and audit until cancelled."""
        raise NotImplementedError

    async def wait_underlay_change(self) -> None:
        """Return when a foreign link, address or route has changed since the last call."""
        raise NotImplementedError

    async def plan(self) -> list[PlannedChange]:
        """What would be written now; writes nothing."""
        raise NotImplementedError

    def status(self) -> Mapping[str, object]:
        """JSON-ready counts."""
        raise NotImplementedError
