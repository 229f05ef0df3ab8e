"""How long something of ours has been missing: refused, taken away again and again, no device."""

import asyncio
import errno

from flannel_sdk.dataplane import Reconciler
from flannel_sdk.testing import virtual_time
from flannel_sdk.testing.fake_kernel import FakeKernel
from tests.unit.dataplane.test_refused_objects import DEVICE, NODE, OWNERSHIP, route


def missing(made: Reconciler) -> float | None:
    found = made.status()["missing_seconds"]
    assert found is None or isinstance(found, float)
    return found


def test_a_refused_object_is_missing_since_its_first_refusal_and_not_once_it_is_there() -> None:
    async def main() -> None:
        kernel = FakeKernel()
        made = Reconciler(kernel, OWNERSHIP)
        await made.set_node(NODE)
        assert missing(made) is None
        kernel.fault = lambda name: errno.EBUSY if name == "put route" else None
        await made.update([route(1), route(2)], full=True)
        task = asyncio.create_task(made.run())
        await asyncio.sleep(40)
        found = missing(made)
        assert found is not None
        assert 39 < found < 42
        assert made.status()["failed_kinds"] == {"route": 2}
        kernel.fault = lambda _: None
        await asyncio.sleep(60)
        assert missing(made) is None
        assert made.status()["failed_kinds"] == {}
        task.cancel()

    virtual_time.run(main())


def test_what_is_taken_again_and_again_is_missing_until_that_stops() -> None:
    async def main() -> None:
        kernel = FakeKernel()
        made = Reconciler(kernel, OWNERSHIP)
        await made.set_node(NODE)
        await made.update([route(1)], full=True)
        task = asyncio.create_task(made.run())
        await asyncio.sleep(1)
        for _ in range(600):
            for slot in list(kernel.route_rows):
                kernel.steal_route(slot)
            await asyncio.sleep(0.05)
        found = missing(made)
        assert found is not None
        assert found > 20
        by_cause = made.status()["repaired_by_cause"]
        assert isinstance(by_cause, dict)
        assert by_cause["notice"]["route"] > 3
        await asyncio.sleep(20)
        assert missing(made) is None
        task.cancel()

    virtual_time.run(main())


def test_a_device_that_cannot_be_made_is_missing() -> None:
    async def main() -> None:
        kernel = FakeKernel()
        made = Reconciler(kernel, OWNERSHIP)
        await made.set_node(NODE)
        await made.update([route(1)], full=True)
        task = asyncio.create_task(made.run())
        await asyncio.sleep(1)
        kernel.fault = lambda name: errno.EBUSY if name == "make_device" else None
        kernel.steal_link(DEVICE)
        await asyncio.sleep(30)
        found = missing(made)
        assert found is not None
        assert found > 20
        kernel.fault = lambda _: None
        await asyncio.sleep(30)
        assert missing(made) is None
        task.cancel()

    virtual_time.run(main())
