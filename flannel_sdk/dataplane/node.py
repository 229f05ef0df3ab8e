"""This node's own devices and addresses: made, adopted, remade or set right."""

import errno
import logging
from collections.abc import Iterable, Sequence

from flannel_sdk.dataplane.objects import Device, InterfaceAddress
from flannel_sdk.dataplane.observed import LinkState
from flannel_sdk.dataplane.ownership import Ownership
from flannel_sdk.dataplane.protocol import Kernel
from flannel_sdk.dataplane.refusals import refusal
from flannel_sdk.dataplane.requests import AddressOperation
from flannel_sdk.errors import KernelRefused
from flannel_sdk.interfaces import PlannedChange
from flannel_sdk.model import IPAddress, MacAddress, Prefix

logger = logging.getLogger(__name__)
_MAC_TRIES = 3


def difference(device: Device, link: LinkState, lower: int | None) -> str | None:
    """Why a device has to be remade, in words; None if it can stay."""
    if link.kind != device.kind:
        return f"its kind is {link.kind or 'none'} and not {device.kind}"
    if lower is not None and link.lower != lower:
        return f"its lower device is not {device.lower}"
    for name, wanted in device.attributes:
        actual = link.attributes.get(name)
        if not _same(wanted, actual):
            return f"its {name} is {actual} and not {wanted}"
    return None


def _same(wanted: object, actual: object) -> bool:
    if wanted is None:
        return not actual
    if isinstance(wanted, bool | int):
        return int(wanted) == (int(actual) if isinstance(actual, bool | int) else 0)
    if isinstance(wanted, IPAddress):
        return str(wanted) == str(actual)
    return wanted == actual


class Node:
    """The devices and addresses of this node."""

    def __init__(self, kernel: Kernel, ownership: Ownership) -> None:
        self._kernel = kernel
        self._ownership = ownership
        self.devices: dict[str, Device] = {}
        self.addresses: list[InterfaceAddress] = []
        self.macs: dict[str, MacAddress] = {}
        """The MAC that each device has or had: one that is remade gets it again."""

    def set(self, devices: Iterable[Device], addresses: Iterable[InterfaceAddress]) -> None:
        """Take what is wanted."""
        self.devices = {device.name: device for device in devices}
        self.addresses = list(addresses)

    async def ensure(self) -> dict[str, int]:
        """Bring devices and addresses into the kernel; returns how many of each were written."""
        written = {"device": 0, "address": 0}
        for device in self.devices.values():
            written["device"] += await self._ensure_device(device)
        for name in dict.fromkeys(address.device for address in self.addresses):
            written["address"] += await self._ensure_addresses(name)
        return {kind: number for kind, number in written.items() if number}

    async def _lower(self, device: Device) -> int | None:
        if device.lower is None:
            return None
        lower = await self._kernel.link(device.lower)
        if lower is None:
            raise KernelRefused(
                f"cannot create the device {device.name}: its lower device {device.lower}"
                " does not exist",
                errno.ENODEV,
            )
        return lower.ifindex

    async def _look_at(self, device: Device) -> LinkState | None:
        link = await self._kernel.link(device.name)
        if link is None or link.attributes or not device.attributes or link.kind != device.kind:
            return link
        return link._replace(attributes=await self._kernel.link_attributes(device.name))

    async def _ensure_device(self, device: Device) -> int:
        lower = await self._lower(device)
        link = await self._look_at(device)
        reason = difference(device, link, lower) if link else None
        if link is not None and reason is not None:
            logger.warning("the device %s is remade: %s", device.name, reason)
            if link.mac is not None:
                self.macs.setdefault(device.name, link.mac)
            await self._kernel.remove_link(link.ifindex)
            link = None
        written = 0
        if link is None:
            mac = device.mac or self.macs.get(device.name)
            await self._kernel.make_device(device._replace(mac=mac), lower)
            written = 1
        await self._kernel.disable_router_advertisements(device.name)
        return max(written, await self._adjust(device))

    async def _adjust(self, device: Device) -> int:
        """Set MTU, MAC and state, and look again: others may set them at the same moment."""
        wanted = device.mac or self.macs.get(device.name)
        for attempt in range(_MAC_TRIES + 1):
            link = await self._kernel.link(device.name)
            if link is None:
                raise KernelRefused(f"the device {device.name} is gone again", errno.ENODEV)
            mac = wanted if wanted is not None and link.mac != wanted else None
            mtu = device.mtu if link.mtu != device.mtu else 0
            if mac is None and not mtu and link.up:
                if link.mac is not None:
                    self.macs[device.name] = link.mac
                return min(attempt, 1)
            await self._kernel.change_link(link.ifindex, up=True, mtu=mtu, mac=mac)
        raise KernelRefused(
            f"the device {device.name} does not keep its MAC or MTU: somebody else sets them",
            errno.EBUSY,
        )

    async def _ensure_addresses(self, name: str) -> int:
        link = await self._kernel.link(name)
        if link is None:
            raise KernelRefused(f"the device {name} does not exist", errno.ENODEV)
        missing, foreign = await self._address_difference(name, link.ifindex)
        operations = [
            AddressOperation("put", link.ifindex, missing),
            AddressOperation("remove", link.ifindex, foreign),
        ]
        for failure in await self._kernel.submit([o for o in operations if o.rows]):
            doing = f"{failure.operation.verb} an address of {name}"
            raise refusal(doing, failure.errno, failure.reason)
        return len(missing) + len(foreign)

    async def _address_difference(
        self, name: str, index: int
    ) -> tuple[list[tuple[bytes, int]], list[tuple[bytes, int]]]:
        """The addresses to add and those to remove."""
        wanted: list[tuple[bytes, int]] = [
            address.address for address in self.addresses if address.device == name
        ]
        present = await self._kernel.addresses(index)
        missing = [row for row in wanted if row not in present]
        if name not in self._ownership.devices:
            return missing, []
        sizes = {len(row[0]) for row in wanted}
        foreign = [
            row
            for row in present
            if row not in wanted and len(row[0]) in sizes and self._is_ours(row[0])
        ]
        return missing, foreign

    def _is_ours(self, address: bytes) -> bool:
        if len(address) == 16:
            return not (address[0] == 0xFE and address[1] & 0xC0 == 0x80)
        return self._ownership.covers(address, 32)

    async def plan(self) -> Sequence[PlannedChange]:
        """What ``ensure`` would do, as far as it can be known before a device exists."""
        planned = []
        for device in self.devices.values():
            link = await self._look_at(device)
            lower = await self._kernel.link(device.lower) if device.lower else None
            if link is None:
                planned.append(PlannedChange("add", "device", f"{device.name} type {device.kind}"))
                continue
            reason = difference(device, link, lower.ifindex if lower else None)
            mac = device.mac or self.macs.get(device.name)
            if reason is None and (
                link.mtu != device.mtu or not link.up or (mac and mac != link.mac)
            ):
                reason = "its MTU, MAC or state differs"
            if reason is not None:
                planned.append(PlannedChange("change", "device", f"{device.name}: {reason}"))
        for name in dict.fromkeys(address.device for address in self.addresses):
            link = await self._kernel.link(name)
            missing = [a.address for a in self.addresses if a.device == name]
            foreign: list[tuple[bytes, int]] = []
            if link is not None:
                add, foreign = await self._address_difference(name, link.ifindex)
                missing = [prefix for prefix in missing if prefix in add]
            planned += [PlannedChange("add", "address", f"{p} dev {name}") for p in missing]
            planned += [
                PlannedChange("remove", "address", f"{Prefix(IPAddress(a), n)} dev {name}")
                for a, n in foreign
            ]
        return planned
