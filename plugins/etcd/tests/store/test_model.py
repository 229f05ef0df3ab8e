"""Several nodes and watchers on a real etcd, in any order of anything that may happen to them.

After each step no subnet has two holders; once things settle, every watcher's view is the store's.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar
from uuid import uuid4

import pytest
from flannel_sdk_etcd.decoding import held_subnets
from flannel_sdk_etcd.manager import EtcdSubnetManager
from flannel_sdk_etcd.options import EtcdOptions
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from flannel_sdk.errors import LeaseLost, OutOfSubnets
from flannel_sdk.model import (
    Lease,
    LeaseAttrs,
    LeaseGone,
    LeaseSnapshot,
    LeaseState,
    Subnets,
    decode_entries,
    encode_attrs,
    format_subnet_key,
    is_same_node,
)
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.nodes import node, node_dual
from plugins.etcd.tests.proxy import Proxy
from plugins.etcd.tests.servers import Cluster, Setup, StartEtcd

T = TypeVar("T")

NETWORKS = [
    '{"Network":"10.3.0.0/26","SubnetLen":30,"SubnetMax":"10.3.0.16"}',
    """{"Network":"10.3.0.0/26","SubnetLen":30,"SubnetMax":"10.3.0.16",
        "EnableIPv6":true,"IPv6Network":"fc00::/61","IPv6SubnetLen":64,"IPv6SubnetMax":"fc00:0:0:4::"}""",
]
"""Four subnets; four pairs."""
NODES = 5
SHORT = 4
"""This node's leases last two seconds and are not renewed."""
FOREIGN = ["notes", "folder/10.3.0.4-30", "10.3.0.4-30", "10.3.0.8-30&fc00:0:0:2::-64"]

numbers = st.integers(0, NODES - 1)


def attrs_of(number: int, tag: str = "") -> LeaseAttrs:
    return replace(node_dual(number + 1), backend_type=tag)


class Watcher:
    """What one agent believes: all leases, and for each node of its own what became of it."""

    def __init__(self, store: EtcdSubnetManager) -> None:
        self.store = store
        self.view: dict[Subnets, Lease] = {}
        self.snapshots = 0
        self.own: dict[int, LeaseState] = {}

    async def follow(self) -> None:
        revision = 0
        async with aclosing(self.store.watch_leases()) as items:
            async for item in items:
                assert item.revision >= revision
                revision = item.revision
                if isinstance(item, LeaseSnapshot):
                    self.snapshots += 1
                    self.view = {lease.subnets: lease for lease in item.leases}
                    continue
                assert not {lease.subnets for lease in item.changed} & set(item.removed)
                self.view |= {lease.subnets: lease for lease in item.changed}
                for subnets in item.removed:
                    self.view.pop(subnets, None)

    async def guard(self, number: int, lease: Lease) -> None:
        async with aclosing(self.store.watch_lease(lease)) as states:
            async for state in states:
                self.own[number] = state


class Site:
    """Five nodes on one etcd, and two watchers of it behind a proxy that can be cut."""

    def __init__(self, cluster: Cluster, document: str) -> None:
        self.control = cluster.control
        self.prefix = f"/model-{uuid4().hex[:12]}"
        self._cluster = cluster
        self.control.put(f"{self.prefix}/config", document)
        self.proxy = Proxy(cluster.member.port)
        self.stores: list[EtcdSubnetManager] = []
        self.watchers: list[Watcher] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.guards: dict[int, asyncio.Task[None]] = {}
        self.held: dict[int, Lease] = {}
        self.acquired = 0

    async def open(self) -> None:
        await self.proxy.__aenter__()
        near = EtcdOptions(endpoints=self._cluster.urls, prefix=self.prefix)
        far = replace(near, endpoints=(self.proxy.url(),))
        for number in range(NODES):
            ttl = 2 if number == SHORT else 86400
            self.stores.append(EtcdSubnetManager(near, lease_ttl=ttl))
        for options in (near, far):
            self.watchers.append(Watcher(EtcdSubnetManager(options)))
            self.tasks.add(asyncio.create_task(self.watchers[-1].follow()))

    async def aclose(self) -> None:
        tasks = [*self.tasks, *self.guards.values()]
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for store in [*self.stores, *(watcher.store for watcher in self.watchers)]:
            await store.aclose()
        await self.proxy.__aexit__(None, None, None)
        defects = [one for one in outcomes if isinstance(one, Exception)]
        assert defects == []

    def entries(self) -> dict[str, tuple[str, int, int]]:
        """Value, revision and etcd lease of each name."""
        start = len(f"{self.prefix}/subnets/")
        return {
            stored.key[start:]: (stored.value, stored.mod_revision, stored.lease)
            for stored in self.control.keys(f"{self.prefix}/subnets/")
        }

    def leases(self) -> list[Lease]:
        found, _ = decode_entries(
            (name, value.encode(), None, revision)
            for name, (value, revision, _) in self.entries().items()
        )
        return found

    def put(self, name: str, value: str | bytes) -> None:
        self.control.put(f"{self.prefix}/subnets/{name}", value)

    def taken(self) -> list[Subnets]:
        """What the keys hold, whatever their values are."""
        return held_subnets(self.entries())

    async def acquire_alone(self, number: int, tag: str) -> None:
        """That it finds no subnet free is right only if there is none."""
        taken = self.taken()
        await self.acquire(number, tag)
        if number not in self.held:
            taken += self.taken()
            assert any(len({subnets[part] for subnets in taken} - {None}) == 4 for part in (0, 1))

    async def acquire(self, number: int, tag: str) -> None:
        store = self.stores[number]
        before = self.held.get(number)
        previous = before.subnets if before else None
        try:
            lease = await store.acquire_lease(attrs_of(number, tag), previous)
        except OutOfSubnets:
            self.held.pop(number, None)
            return
        assert lease.attrs == attrs_of(number, tag)
        self.held[number] = lease
        self.acquired += 1
        self.guard(number, lease)

    def guard(self, number: int, lease: Lease) -> None:
        """Watch our own lease, through the proxy."""
        if number in self.guards:
            self.guards[number].cancel()
            self.tasks.add(self.guards[number])
        self.guards[number] = asyncio.create_task(self.watchers[1].guard(number, lease))

    def is_held(self, number: int, lease: Lease) -> bool:
        entry = self.entries().get(format_subnet_key(lease.subnets))
        if entry is None:
            return False
        found, _ = decode_entries([("10.3.0.4-30", entry[0].encode(), None, 0)])
        return bool(found) and is_same_node(found[0].attrs.public_ips, attrs_of(number).public_ips)

    async def settle(self) -> None:
        def views_are_right() -> bool:
            expected = {lease.subnets: (lease.attrs, lease.revision) for lease in self.leases()}
            return all(
                watcher.snapshots
                and {key: (lease.attrs, lease.revision) for key, lease in watcher.view.items()}
                == expected
                for watcher in self.watchers
            )

        def guards_are_right() -> bool:
            return all(
                isinstance(self.watchers[1].own.get(number), LeaseGone)
                != self.is_held(number, lease)
                for number, lease in self.held.items()
                if number in self.watchers[1].own
            )

        await eventually(views_are_right, "each watcher sees what is in the store", 20)
        await eventually(guards_are_right, "each node knows whether its lease is its own", 20)


class Nodes(RuleBasedStateMachine):
    """Made by ``machine`` with a cluster and a loop."""

    cluster: Cluster
    runner: asyncio.Runner
    seen: dict[str, int]

    def __init__(self) -> None:
        super().__init__()
        self.site: Site | None = None

    def do(self, work: Coroutine[object, object, T]) -> T:
        return self.runner.run(work)

    @property
    def now(self) -> Site:
        assert self.site is not None
        return self.site

    @initialize(document=st.sampled_from(NETWORKS))
    def open(self, document: str) -> None:
        self.site = Site(self.cluster, document)
        self.do(self.site.open())

    @rule(number=numbers, tag=st.sampled_from(["", "a"]))
    def acquire(self, number: int, tag: str) -> None:
        self.do(self.now.acquire_alone(number, tag))

    @rule(tag=st.sampled_from(["", "b"]))
    def acquire_all_at_once(self, tag: str) -> None:
        async def together() -> None:
            await asyncio.gather(*(self.now.acquire(number, tag) for number in range(NODES)))

        self.do(together())

    @rule(number=numbers, tag=st.sampled_from(["", "c"]))
    def renew(self, number: int, tag: str) -> None:
        lease = self.now.held.get(number)
        if lease is None:
            return
        before = self.now.is_held(number, lease)
        try:
            renewed = self.do(
                self.now.stores[number].renew_lease(replace(lease, attrs=attrs_of(number, tag)))
            )
        except LeaseLost:
            assert not before or number == SHORT
            del self.now.held[number]
        else:
            assert before
            assert renewed.subnets == lease.subnets
            self.now.held[number] = renewed

    @rule(number=numbers)
    def delete(self, number: int) -> None:
        lease = self.now.held.get(number)
        if lease is not None:
            name = format_subnet_key(lease.subnets)
            self.now.control.delete(f"{self.now.prefix}/subnets/{name}")

    @rule(number=numbers)
    def expire(self, number: int) -> None:
        lease = self.now.held.get(number)
        entry = lease and self.now.entries().get(format_subnet_key(lease.subnets))
        if entry and entry[2]:
            self.now.control.revoke(entry[2])

    @rule(number=numbers)
    def overwrite(self, number: int) -> None:
        lease = self.now.held.get(number)
        if lease is not None and self.now.is_held(number, lease):
            stranger = encode_attrs(node(200 + number))
            self.now.put(format_subnet_key(lease.subnets), stranger)

    @rule(number=numbers, place=st.sampled_from(["10.3.0.4-30", "10.3.0.8-30&fc00:0:0:2::-64"]))
    def reserve(self, number: int, place: str) -> None:
        self.now.control.delete(f"{self.now.prefix}/subnets/", prefix=True)
        self.now.put(place, encode_attrs(attrs_of(number)))

    @rule(name=st.sampled_from(FOREIGN), value=st.sampled_from(["", "{", "null", "{}"]))
    def put_something(self, name: str, value: str) -> None:
        if name not in self.now.entries():
            self.now.put(name, value)

    @rule(name=st.sampled_from(FOREIGN))
    def delete_something(self, name: str) -> None:
        self.now.control.delete(f"{self.now.prefix}/subnets/{name}")

    @rule()
    def compact(self) -> None:
        self.now.put("notes", str(uuid4()))  # the same revision cannot be compacted twice
        self.now.control.compact()

    @rule()
    def cut(self) -> None:
        """The far watcher connects again by itself."""

        async def cut() -> None:
            self.now.proxy.cut()
            await asyncio.sleep(0)

        self.do(cut())

    @rule()
    def disconnect(self) -> None:
        """.. cannot, until it is let."""

        async def refuse() -> None:
            self.now.proxy.refuse()
            await asyncio.sleep(0)

        self.do(refuse())

    @rule()
    def disconnect_and_compact(self) -> None:
        self.disconnect()
        self.compact()

    @rule()
    def reconnect(self) -> None:
        self.now.proxy.heal()

    @rule()
    def settle(self) -> None:
        self.now.proxy.heal()
        self.do(self.now.settle())

    @invariant()
    def no_subnet_has_two_holders(self) -> None:
        if self.site is None:
            return
        leases = [lease for lease in self.site.leases() if lease.attrs.public_ips.ipv4]
        for part in (0, 1):
            held = [lease.subnets[part] for lease in leases if lease.subnets[part]]
            assert len(set(held)) == len(held), held

    def teardown(self) -> None:
        if self.site is None:
            return
        site, self.site = self.site, None
        site.proxy.heal()
        try:
            self.do(site.settle())
        finally:
            self.seen["snapshots"] += sum(watcher.snapshots for watcher in site.watchers)
            self.seen["histories"] += 1
            self.seen["leases"] += site.acquired
            self.do(site.aclose())


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_any_history_leaves_each_subnet_one_holder_and_each_watcher_the_truth(
    start_etcd: StartEtcd,
) -> None:
    made = start_etcd(Setup())
    counted = {"histories": 0, "leases": 0, "snapshots": 0}
    with asyncio.Runner() as loop:

        class Machine(Nodes):
            cluster = made
            runner = loop
            seen = counted

        run_machine(
            Machine,
            settings=settings(
                max_examples=40,
                stateful_step_count=30,
                deadline=None,
                database=None,
                phases=[Phase.generate],  # another run of the same steps is another race
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
    print(", ".join(f"{count} {what}" for what, count in counted.items()))
    assert counted["snapshots"] > 2 * counted["histories"]  # some after history was lost
    assert counted["leases"] > counted["histories"]
