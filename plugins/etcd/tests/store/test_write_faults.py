"""Writing while requests fail, get lost, are not answered or come late, and while we are cancelled.

On the fake etcd, for every request of every case in turn: afterwards the store holds our one entry
and what others had, and no etcd lease of ours that is of no use.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
from flannel_sdk_etcd.errors import Compacted, EtcdLeaseGone
from flannel_sdk_etcd.keys import Keys
from flannel_sdk_etcd.manager import EtcdSubnetManager
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.records import KeyValue

from flannel_sdk.errors import LeaseLost, StoreUnavailable
from flannel_sdk.model import Lease, decode_entries, encode_attrs, is_same_node
from flannel_sdk.testing import virtual_time
from plugins.etcd.tests.fake_client import FakeClient, FakeEtcd, Fault
from plugins.etcd.tests.nodes import DUAL, IPV4, PREFIX, node, node_dual

pytestmark = pytest.mark.slow


KEYS = Keys(PREFIX)
OLD, FOREIGN = 77, 88
"""Etcd leases: of our former self, and of somebody else."""
OURS = KEYS.subnets + b"10.3.1.0-24"
ATTRS = node_dual(1)
FORMER = replace(ATTRS, backend_type="former")


class World:
    """An etcd with the entries of others, and our manager of it."""

    def __init__(self, config: str = IPV4) -> None:
        self.etcd = FakeEtcd()
        self.etcd.put(KEYS.config, config.encode())
        self.etcd.grant(FOREIGN, 86400)
        for name, value, etcd_lease in (
            (b"10.3.9.0-24", encode_attrs(node(9)), FOREIGN),
            (b"notes", b"theirs", FOREIGN),
            (b"10.3.8.0-24", b"{", 0),
            (b"10.3.7.0-24", encode_attrs(node(7)), 0),
        ):
            self.etcd.put(KEYS.subnets + name, value, etcd_lease)
        self.theirs = dict(self.etcd.entries)
        self.client = FakeClient(self.etcd)
        self.store = EtcdSubnetManager(EtcdOptions(prefix=PREFIX), client=self.client)

    def former_entry(self, value: bytes, *, reserved: bool = False) -> None:
        if not reserved:
            self.etcd.grant(OLD, 86400)
        self.etcd.put(OURS, value, 0 if reserved else OLD)

    def lease(self) -> Lease:
        """Our former entry as a lease."""
        entry = self.etcd.entries[OURS]
        leases, _ = decode_entries([("10.3.1.0-24", entry.value, 1.0, entry.mod_revision)])
        return replace(leases[0], attrs=ATTRS)

    def ours(self) -> list[KeyValue]:
        found = []
        for key, entry in self.etcd.entries.items():
            leases, _ = decode_entries([(KEYS.name(key), entry.value, None, 0)])
            if leases and is_same_node(leases[0].attrs.public_ips, ATTRS.public_ips):
                found.append(entry)
        return found

    def check(self, lease: Lease) -> None:
        """All is as it has to be when we hold ``lease``."""
        self.client.land_late()
        (entry,) = self.ours()
        assert entry.key == KEYS.of(lease.subnets)
        assert entry.value == encode_attrs(ATTRS)
        assert entry.mod_revision == lease.revision
        assert (entry.lease == 0) == (lease.expires_at is None)
        assert self.etcd.leases.keys() == {FOREIGN, entry.lease} - {0}
        self.check_theirs()

    def check_theirs(self) -> None:
        for key, entry in self.theirs.items():
            assert self.etcd.entries[key] == entry

    def check_unused(self) -> None:
        """No etcd lease is of no use."""
        self.client.land_late()
        assert [lease for lease in self.etcd.leases if not self.etcd.keys_of(lease)] == []


Case = Callable[[], tuple[World, Callable[[], Awaitable[Lease]]]]


def fresh() -> tuple[World, Callable[[], Awaitable[Lease]]]:
    world = World()
    return world, lambda: world.store.acquire_lease(ATTRS)


def adopted() -> tuple[World, Callable[[], Awaitable[Lease]]]:
    world = World()
    world.former_entry(encode_attrs(FORMER))
    return world, lambda: world.store.acquire_lease(ATTRS)


def reserved() -> tuple[World, Callable[[], Awaitable[Lease]]]:
    world = World()
    world.former_entry(encode_attrs(FORMER), reserved=True)
    return world, lambda: world.store.acquire_lease(ATTRS)


def unfit() -> tuple[World, Callable[[], Awaitable[Lease]]]:
    world = World(DUAL)
    world.former_entry(encode_attrs(FORMER))
    return world, lambda: world.store.acquire_lease(ATTRS)


def renewed() -> tuple[World, Callable[[], Awaitable[Lease]]]:
    world = World()
    world.former_entry(encode_attrs(FORMER))
    lease = world.lease()
    return world, lambda: world.store.renew_lease(lease)


def renewed_reservation() -> tuple[World, Callable[[], Awaitable[Lease]]]:
    world = World()
    world.former_entry(encode_attrs(FORMER), reserved=True)
    lease = world.lease()
    return world, lambda: world.store.renew_lease(lease)


CASES = [fresh, adopted, reserved, unfit, renewed, renewed_reservation]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.__name__))


async def requests_of(case: Case) -> list[str]:
    """What is asked where nothing fails."""
    world, act = case()
    async with world.store:
        lease = await act()
        asked = list(world.client.requests)
        world.check(lease)
    return asked


@asynccontextmanager
async def no_task_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() <= before


async def as_a_keeper(world: World, act: Callable[[], Awaitable[Lease]]) -> Lease:
    """Again where it failed, and acquire what was lost."""
    for _ in range(4):
        try:
            return await act()
        except LeaseLost:
            return await as_a_keeper(world, lambda: world.store.acquire_lease(ATTRS))
        except StoreUnavailable:
            continue
    raise AssertionError("it failed more often than there are faults")


@each_case
async def test_what_is_asked(case: Case) -> None:
    expected = {
        "fresh": "get grant list put_if list",
        "adopted": "get grant list put_if lease_time revoke",
        "reserved": "get grant list put_if revoke",
        "unfit": "get grant list delete_if put_if list lease_time revoke",
        "renewed": "get grant put_if lease_time revoke",
        "renewed_reservation": "get put_if",
    }
    assert await requests_of(case) == expected[case.__name__].split()


def two_faults(requests: int) -> Iterator[dict[int, Fault]]:
    """Any fault at any request; then any other at any later one."""
    places = range(requests + 4)
    for (one, two), kinds in product(product(places, places), product(Fault, Fault)):
        if one < two:
            yield dict(zip((one, two), kinds, strict=True))


@each_case
async def test_two_faults_at_any_requests(case: Case) -> None:
    count = len(await requests_of(case))
    for faults in two_faults(count):
        world, act = case()
        world.client.faults = faults
        async with no_task_left():
            lease = await as_a_keeper(world, act)
            # What could not be given back is given back with the next ones.
            world.client.faults = {}
            await world.store.aclose()
        try:
            world.check(lease)
        except AssertionError as error:
            error.add_note(f"{faults} {world.client.requests}")
            raise


@each_case
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", [None, *Fault])
async def test_cancelled_at_any_request(case: Case, when: str, fault: Fault | None) -> None:
    count = len(await requests_of(case))
    for number in range(count):
        world, act = case()
        async with no_task_left():
            task = asyncio.ensure_future(act())
            hooks = world.client.before if when == "before" else world.client.after
            hooks[number] = task.cancel
            if fault is not None:
                world.client.faults = {number: fault}
            outcome = await asyncio.gather(task, return_exceptions=True)
        assert fault is not None or isinstance(outcome[0], asyncio.CancelledError)
        hooks.clear()
        if fault is None:  # what could not be revoked is revoked with the next ones
            world.check_unused()
        world.check_theirs()
        assert len(world.ours()) <= 1
        async with world.store:
            lease = await as_a_keeper(world, act)
        world.check(lease)


@each_case
async def test_closed_at_any_request(case: Case) -> None:
    count = len(await requests_of(case))
    for number in range(count):
        world, act = case()
        closing: list[asyncio.Task[None]] = []

        def close(world: World = world, closing: list[asyncio.Task[None]] = closing) -> None:
            closing.append(asyncio.create_task(world.store.aclose()))

        world.client.before[number] = close
        async with no_task_left():
            await asyncio.gather(act(), return_exceptions=True)
            await asyncio.gather(*closing)
        assert len(closing) == 1
        world.check_unused()
        world.check_theirs()
        with pytest.raises(StoreUnavailable, match="closed"):
            await act()


@each_case
async def test_cancelled_again_while_cleaning_up(case: Case) -> None:
    count = len(await requests_of(case))
    for number in range(count):
        world, act = case()
        async with no_task_left():
            task = asyncio.ensure_future(act())
            for later in range(number, count + 6):
                world.client.before[later] = task.cancel
                world.client.after[later] = task.cancel
            with pytest.raises(asyncio.CancelledError):
                await task
        world.check_unused()
        world.check_theirs()


@each_case
async def test_down_from_any_request_on(case: Case) -> None:
    count = len(await requests_of(case))
    for number, fault in product(range(count), [None, *Fault]):
        world, act = case()

        def go_down(world: World = world) -> None:
            world.client.is_down = True

        if fault is None:
            world.client.before[number] = go_down
        else:
            world.client.faults = {number: fault}
            world.client.before[number + 1] = go_down
        async with no_task_left(), world.store:
            try:
                lease = await act()
            except (StoreUnavailable, LeaseLost):
                world.client.land_late()
                world.client.is_down = False
                world.client.before.clear()
                lease = await as_a_keeper(world, act)
            world.client.before.clear()
            world.client.is_down = False
        world.check(lease)


@each_case
def test_a_store_that_does_not_answer_holds_a_cancellation_up_for_seconds_only(case: Case) -> None:
    async def main() -> None:
        for number in range(len(await requests_of(case))):
            world, act = case()
            world.client.hangs_from = number
            async with no_task_left():
                task = asyncio.ensure_future(act())
                await asyncio.sleep(10)
                cancelled_at = asyncio.get_running_loop().time()
                task.cancel()
                outcome = (await asyncio.gather(task, return_exceptions=True))[0]
                assert asyncio.get_running_loop().time() - cancelled_at <= 6
                # It may have been done but for etcd leases that could not be revoked.
                assert isinstance(outcome, asyncio.CancelledError | Lease)
                await world.store.aclose()

    virtual_time.run(main())


def revoke_ours(world: World) -> None:
    for number in world.etcd.leases.keys() - {OLD, FOREIGN}:
        world.etcd.revoke(number)


RIVALS: dict[str, Callable[[World], object]] = {
    "delete": lambda world: world.etcd.delete(OURS),
    "expire": lambda world: world.etcd.revoke(OLD),
    "overwrite": lambda world: world.etcd.put(OURS, encode_attrs(node(5)), FOREIGN),
    "garble": lambda world: world.etcd.put(OURS, b"{", FOREIGN),
    "reserve": lambda world: world.etcd.put(OURS, encode_attrs(FORMER)),
    "renew": lambda world: world.etcd.put(OURS, encode_attrs(FORMER), FOREIGN),
    "revoke": revoke_ours,
    "compact": lambda world: world.etcd.compact(),
}


@each_case
@pytest.mark.parametrize("rival", RIVALS)
async def test_d8_a_rival_at_any_request(case: Case, rival: str) -> None:
    """Nothing of anybody else is overwritten, whenever it appears."""
    count = len(await requests_of(case))
    for number in range(count):
        world, act = case()
        world.client.before[number] = partial(RIVALS[rival], world)
        async with no_task_left(), world.store:
            await as_a_keeper(world, act)
            # It may have come last of all, over our finished entry: a keeper acquires again.
            lease = await world.store.acquire_lease(ATTRS)
        if rival in {"overwrite", "garble"}:
            entry = world.etcd.entries[OURS]
            foreign = encode_attrs(node(5)) if rival == "overwrite" else b"{"
            assert (entry.value, entry.lease) == (foreign, FOREIGN)
        world.etcd.revoke(OLD)  # the rival may have taken our entry from it before we saw it
        if rival in {"reserve", "renew"} and len(world.ours()) == 2:
            # What it wrote is our node's too, by its public IP.
            assert KEYS.of(lease.subnets) in [entry.key for entry in world.ours()]
            world.check_unused()
            world.check_theirs()
        else:
            world.check(lease)


@pytest.mark.parametrize("stubborn", [5, 6, 7])
async def test_an_etcd_lease_that_cannot_be_revoked_keeps_none_of_the_others(stubborn: int) -> None:
    """Where one carries keys of others too, a user of ours may lack the right to look at it."""
    world = World()
    revoke = world.client.revoke_lease

    async def forbidden(lease: int) -> None:
        if lease == stubborn:
            raise StoreUnavailable("etcd does not let user 'flannel' do this")
        await revoke(lease)

    world.client.revoke_lease = forbidden  # type: ignore[method-assign]  # a server's
    for number in (5, 6, 7):
        world.etcd.grant(number, 86400)
        world.store._leasing.grants.removing(KeyValue(OURS, b"", 1, number))
    async with world.store:
        pass
    assert world.etcd.leases.keys() == {stubborn, FOREIGN}


async def test_an_etcd_lease_that_was_not_granted_is_not_revoked() -> None:
    """It may be somebody else's, who has the same id."""
    world, act = fresh()
    world.client.faults = {1: Fault.FAIL}
    async with world.store:
        with pytest.raises(StoreUnavailable):
            await act()
    assert world.client.requests == ["get", "grant"]


async def test_our_lease_made_a_reservation_by_somebody_leaves_no_etcd_lease() -> None:
    world, act = fresh()
    async with world.store:
        lease = await act()
        world.etcd.put(KEYS.of(lease.subnets), encode_attrs(FORMER))
        renewed = await world.store.renew_lease(lease)
    assert renewed.expires_at is None
    world.check(renewed)


@each_case
@pytest.mark.parametrize("error", [EtcdLeaseGone("it is gone"), Compacted("it is gone", 1)])
async def test_a_setback_at_each_try_is_left_to_the_caller(
    case: Case, error: StoreUnavailable
) -> None:
    """Who tries again without an end and without a pause is a load for the servers."""
    world, act = case()
    put_if = world.client.put_if

    async def setback(key: bytes, expected: int, value: bytes, lease: int = 0) -> object:
        await asyncio.sleep(0)
        raise error

    world.client.put_if = setback  # type: ignore[method-assign,assignment]  # a server's
    async with asyncio.timeout(30), world.store:
        with pytest.raises(type(error)):
            await act()
        world.check_unused()
        assert len(world.client.requests) < 200
        world.client.put_if = put_if  # type: ignore[method-assign]
        lease = await as_a_keeper(world, act)
    world.check(lease)


@pytest.mark.parametrize("seed", range(3))
async def test_d3_a_rival_takes_every_subnet_we_choose_but_one(seed: int) -> None:
    """Each lost race is tried again, however often, without a failure."""
    world = World('{"Network":"10.3.0.0/22","SubnetLen":26}')
    rival = FakeClient(world.etcd)
    taken = 0
    put_if = world.client.put_if

    async def too_late(key: bytes, expected: int, value: bytes, lease: int = 0) -> object:
        nonlocal taken
        if taken < 10:
            taken += 1
            await rival.put_if(key, 0, encode_attrs(node(100 + taken)))
        return await put_if(key, expected, value, lease)

    world.client.put_if = too_late  # type: ignore[method-assign,assignment]  # a rival inside
    async with world.store:
        lease = await world.store.acquire_lease(ATTRS)
    assert taken == 10
    world.check(lease)
