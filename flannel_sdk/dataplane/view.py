"""What the reconciler looks at in the kernel: the devices of interest, and whole dumps."""

from flannel_sdk.dataplane.desired import Changes, DesiredState
from flannel_sdk.dataplane.lowering import Lowering
from flannel_sdk.dataplane.node import Node
from flannel_sdk.dataplane.notices import NoticeSorter
from flannel_sdk.dataplane.objects import BLACKHOLE
from flannel_sdk.dataplane.observed import KernelState
from flannel_sdk.dataplane.ownership import Ownership
from flannel_sdk.dataplane.protocol import Kernel


class KernelView:
    """Keeps the device indexes of ``lowering`` true and reads what there is to compare with."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        ownership: Ownership,
        desired: DesiredState,
        lowering: Lowering,
        node: Node,
        notices: NoticeSorter,
    ) -> None:
        self._kernel = kernel
        self._ownership = ownership
        self._desired = desired
        self._lowering = lowering
        self._node = node
        self._notices = notices
        self._route_devices: set[str] = set()
        self._links: dict[str, tuple[int, bool] | None] = {}
        self._listening = False

    async def listen(self) -> None:
        """Begin to take notices, once."""
        if not self._listening:
            await self._kernel.subscribe(self._notices.take)
            self._listening = True

    def absent_devices(self) -> list[str]:
        """Devices that objects wait for, sorted."""
        return sorted(name for name, link in self._links.items() if link is None)

    def _names(self) -> set[str]:
        names = {*self._node.devices, *self._ownership.devices, *self._route_devices}
        return names | self._desired.neighbours.keys() | self._desired.fdb.keys()

    async def find_new_devices(self, changes: Changes) -> None:
        """Look up devices that no object needed before."""
        self._route_devices |= {route.device for route in changes.routes} - {BLACKHOLE}
        if not self._names() <= self._links.keys():
            await self.find_devices()

    async def find_devices(self) -> bool:
        """Look up the index of every device of interest; True if one differs from before."""
        links: dict[str, tuple[int, bool] | None] = {}
        for name in self._names():
            link = await self._kernel.link(name)
            links[name] = (link.ifindex, link.up) if link else None
        differs = any(links[name] != self._links.get(name) for name in links)
        self._links = links
        self._lowering.indexes = {name: link[0] for name, link in links.items() if link}
        self._lowering.indexes[BLACKHOLE] = 0
        self._lowering.own = frozenset(
            index
            for name, index in self._lowering.indexes.items()
            if name in self._ownership.devices
        )
        lowers = {device.lower for device in self._node.devices.values() if device.lower}
        self._notices.watched = {*links, *lowers}
        return differs

    async def adopt(self) -> KernelState:
        """Look for the devices and read everything."""
        await self.find_devices()
        return await self.read()

    async def read(self) -> KernelState:
        """Everything there is to compare with; notes the routes of others."""
        indexes, own = self._lowering.indexes, self._lowering.own
        desired, rivals = self._desired, self._lowering.rivals
        neighbours = {indexes[name] for name in desired.neighbours if name in indexes} | own
        fdb = {indexes[name] for name in desired.fdb if name in indexes} | own
        rivals.clear()
        routes = await self._kernel.routes()
        rivals.add(routes.strays)
        return KernelState(
            {index: await self._kernel.neighbours(index) for index in sorted(neighbours)},
            {index: await self._kernel.fdb(index) for index in sorted(fdb)},
            routes,
        )
