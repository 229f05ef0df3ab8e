"""What the reconciler needs of a kernel: small enough for a fake to stand in."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from flannel_sdk.dataplane.objects import Device
from flannel_sdk.dataplane.observed import FdbDump, LinkState, Notice, RouteDump
from flannel_sdk.dataplane.requests import Failure, Operation
from flannel_sdk.model import MacAddress


class Kernel(Protocol):
    """One network namespace. Every method may raise KernelError or PrivilegeError, and
    PermanentError where there is no such namespace.

    Requests take effect in the order in which they were made.
    """

    def submit(self, operations: Sequence[Operation]) -> asyncio.Future[list[Failure]]:
        """Carry out the rows of all operations in order; a row that fails holds up no other."""
        ...

    async def link(self, name: str) -> LinkState | None:
        """A device by name."""
        ...

    async def link_attributes(self, name: str) -> Mapping[str, object]:
        """Attributes of the kind of a device that ``link`` does not decode; slow."""
        ...

    async def addresses(self, index: int) -> list[tuple[bytes, int]]:
        """Address and prefix length of each address of a device."""
        ...

    async def neighbours(self, index: int) -> dict[bytes, bytes]:
        """The permanent neighbours of a device, both families."""
        ...

    async def fdb(self, index: int) -> FdbDump:
        """The permanent unicast entries of a device itself."""
        ...

    async def routes(self) -> RouteDump:
        """The main table, both families."""
        ...

    async def make_device(self, device: Device, lower: int | None) -> None:
        """Create a device, down; EEXIST if there is one of that name."""
        ...

    async def change_link(self, index: int, *, up: bool, mtu: int, mac: MacAddress | None) -> None:
        """Set a device up, its MTU unless 0, its MAC unless None."""
        ...

    async def remove_link(self, index: int) -> None:
        """Delete a device; fine if it is gone."""
        ...

    async def disable_router_advertisements(self, name: str) -> None:
        """Set ``accept_ra`` of a device to 0; fine if there is no IPv6."""
        ...

    async def subscribe(self, handler: Callable[[Sequence[Notice]], None]) -> None:
        """Call ``handler`` with each change from now on that was not made through ``submit``.

        Forwarding entries made through ``submit`` may be reported all the same.
        """
        ...

    async def unsubscribe(self) -> None:
        """End what ``subscribe`` began; idempotent."""
        ...

    def listen_for_objects(self, listen: bool) -> None:
        """False: notices of neighbours, entries and routes may be dropped until True."""
        ...
