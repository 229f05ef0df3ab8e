"""Objects that a kernel refuses, in virtual time: none is forgotten, none is tried without end."""

import asyncio
import errno
from collections.abc import Iterator, Sequence
from typing import NoReturn

import pytest

from flannel_sdk.dataplane import (
    Device,
    FdbEntry,
    KernelObject,
    Neighbour,
    Ownership,
    Reconciler,
    Route,
)
from flannel_sdk.dataplane.observed import FdbNotice
from flannel_sdk.model import IPAddress, MacAddress, Prefix
from flannel_sdk.testing import virtual_time
from flannel_sdk.testing.fake_kernel import FakeKernel

DEVICE = "flannel.1"
OWNERSHIP = Ownership(frozenset({DEVICE}), (Prefix.parse("10.0.0.0/8"),))
NODE = [Device(DEVICE, "vxlan", 1450, MacAddress.parse("02:00:00:00:00:01"))]
Peer = tuple[int, Sequence[KernelObject]]


def neighbour(number: int) -> Peer:
    address = IPAddress((0x0A000000 + number).to_bytes(4, "big"))
    return number, [Neighbour(DEVICE, address, MacAddress(b"\2\0" + number.to_bytes(4, "big")))]


def route(number: int, device: str = DEVICE) -> Peer:
    destination = Prefix(IPAddress((0x0A000000 + (number << 8)).to_bytes(4, "big")), 24)
    return number, [Route(destination, device, None)]


def test_a_device_that_is_remade_in_the_middle_of_an_update() -> None:
    async def main() -> None:
        kernel = FakeKernel()
        kernel.add_link("eth0")
        made = Reconciler(kernel, OWNERSHIP)
        await made.set_node(NODE)

        def changed() -> Iterator[Peer]:
            kernel.fault = lambda name: errno.EBUSY if name == "put neighbour" else None
            yield from (neighbour(number) for number in range(1, 257))
            kernel.fault = lambda _: None
            kernel.steal_link(DEVICE)
            yield route(300, "eth0")

        await made.update(changed(), full=True)
        task = asyncio.create_task(made.run())
        await asyncio.sleep(20)
        assert len(kernel.rows_by_index[kernel.links[DEVICE].ifindex]) == 256
        assert made.status()["failed"] == {"count": 0, "reasons": {}}
        task.cancel()

    virtual_time.run(main())


def test_a_removal_that_failed_while_an_update_held_the_lock_is_tried_again() -> None:
    async def main() -> None:
        kernel = FakeKernel()
        made = Reconciler(kernel, OWNERSHIP)
        await made.set_node(NODE)
        await made.update([route(1), route(2)], full=True)
        kernel.fault = lambda name: errno.EBUSY if name == "remove route" else None
        await made.update([], [1], full=False)
        kernel.fault = lambda _: None
        task = asyncio.create_task(made.run())
        await asyncio.sleep(0)
        async with made._lock:
            # Something else wakes the loop before the time, which passes while it waits for us.
            made._notices.wake.set()
            await asyncio.sleep(1)
        await asyncio.sleep(10)
        assert len(kernel.route_rows) == 1
        task.cancel()

    virtual_time.run(main())


@pytest.mark.parametrize("full", [True, False])
def test_an_update_that_breaks_off_is_finished_by_the_repair(full: bool) -> None:
    async def main() -> None:
        kernel = FakeKernel()
        made = Reconciler(kernel, OWNERSHIP)
        await made.set_node(NODE)
        await made.update([], full=True)
        task = asyncio.create_task(made.run())

        def changed() -> Iterator[Peer]:
            yield route(1)
            breaks()

        def breaks() -> NoReturn:
            raise LookupError("broken off")

        with pytest.raises(LookupError):
            await made.update(changed(), full=full)
        await asyncio.sleep(5)
        assert len(kernel.route_rows) == 1
        task.cancel()

    virtual_time.run(main())


def test_a_late_notice_of_our_own_entry_does_not_remove_it() -> None:
    async def main() -> None:
        kernel = FakeKernel()
        made = Reconciler(kernel, OWNERSHIP)
        await made.set_node(NODE)
        index = kernel.links[DEVICE].ifindex
        mac = MacAddress.parse("02:00:00:00:00:07")
        old, new = IPAddress.parse("192.0.2.1"), IPAddress.parse("192.0.2.2")
        await made.update([("a", [FdbEntry(DEVICE, mac, new)])], full=True)
        # What an earlier write of ours caused; then it is wanted again.
        kernel.notify(FdbNotice(index, mac, old, True, True))
        await made.update([("a", [FdbEntry(DEVICE, mac, old)])], full=False)
        task = asyncio.create_task(made.run())
        await asyncio.sleep(1)
        assert kernel.fdb_by_index[index] == {mac: old}
        task.cancel()

    virtual_time.run(main())


def test_thousands_of_refused_objects_are_tried_again_together() -> None:
    async def main() -> None:
        kernel = FakeKernel()
        made = Reconciler(kernel, OWNERSHIP)
        await made.set_node(NODE)
        kernel.fault = lambda name: errno.EBUSY if name.startswith("put") else None
        turns = 0
        work = made._repair.work

        async def counted() -> None:
            nonlocal turns
            turns += 1
            await work()

        made._repair.work = counted  # type: ignore[method-assign]  # only counts
        await made.update((neighbour(number) for number in range(1, 1001)), full=True)
        task = asyncio.create_task(made.run())
        await asyncio.sleep(60)
        assert turns <= 500
        task.cancel()

    virtual_time.run(main())


@pytest.mark.parametrize("refused", [0, 3])
def test_a_kernel_that_cannot_be_read_is_asked_ever_later(refused: int) -> None:
    async def main() -> None:
        kernel = FakeKernel()
        made = Reconciler(kernel, OWNERSHIP)
        await made.set_node(NODE)
        reads = 0

        def fault(name: str) -> int | None:
            nonlocal reads
            reads += name == "routes"
            if reads > 500:
                raise AssertionError("it is asked over and over")
            return errno.EBUSY if name in ("routes", "put neighbour") else None

        await made.update([], full=True)
        kernel.fault = fault
        await made.update((neighbour(number) for number in range(refused)), full=False)
        task = asyncio.create_task(made.run())
        await asyncio.sleep(200)
        assert not task.done()
        assert reads >= 10
        kernel.fault = lambda _: None
        await asyncio.sleep(10)
        assert made.status()["failed"] == {"count": 0, "reasons": {}}
        task.cancel()

    virtual_time.run(main())
