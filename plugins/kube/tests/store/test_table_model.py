"""Any order of what may happen to nodes: deltas add up to what a fresh look at the nodes says."""

from collections.abc import Mapping

from flannel_sdk_kube.known_nodes import KnownNodes
from flannel_sdk_kube.lease_table import LeaseTable
from flannel_sdk_kube.node_client import NodeDelta, NodeEntry, NodeSnapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.model import Lease, LeaseAttrs, Subnets
from plugins.kube.tests.store.site import written
from plugins.kube.tests.store.test_hostile_nodes import entry, reader, table

NAMES = ("a", "b", "c", "own")
STATES: tuple[Mapping[str, str], ...] = (
    written("192.168.0.1"),
    written("192.168.0.2"),
    written("garbage"),
    {},
)
CIDRS = ((), ("10.3.1.0/24",), ("10.3.2.0/24",), ("10.3.1.0/24", "fc00::/64"))

changes = st.one_of(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(CIDRS), st.sampled_from(STATES)),
    st.tuples(st.sampled_from(NAMES), st.none(), st.none()),
)
steps = st.lists(st.lists(changes, min_size=1, max_size=4), min_size=1, max_size=8)


class _Consumer:
    """What a consumer makes of the items."""

    def __init__(self) -> None:
        self.leases: dict[Subnets, LeaseAttrs] = {}
        self.malformed: dict[str, str] = {}

    def apply(self, leases: LeaseTable, delta: NodeDelta) -> None:
        told = leases.delta(delta)
        if told is None:
            return
        changed = {lease.subnets: lease.attrs for lease in told.changed}
        assert len(changed) == len(told.changed)
        assert changed.keys().isdisjoint(told.removed)
        for subnets in told.removed:
            del self.leases[subnets]
        for subnets, attrs in changed.items():
            assert self.leases.get(subnets) != attrs, "told twice"
            self.leases[subnets] = attrs
        for name in told.cleared:
            del self.malformed[name]
        for one in told.malformed:
            assert self.malformed.get(one.key) != one.reason, "named twice"
            self.malformed[one.key] = one.reason


@settings(deadline=None, max_examples=150)
@given(first=st.lists(changes, max_size=4), rest=steps)
def test_deltas_add_up(
    first: list[tuple[str, tuple[str, ...] | None, Mapping[str, str] | None]],
    rest: list[list[tuple[str, tuple[str, ...] | None, Mapping[str, str] | None]]],
) -> None:
    known, leases, consumer = KnownNodes(), table("own"), _Consumer()
    count = 0

    def change(steps: list[tuple[str, tuple[str, ...] | None, Mapping[str, str] | None]]) -> None:
        nonlocal count
        for name, cidrs, annotations in steps:
            count += 1
            if cidrs is None or annotations is None:
                known.drop(name)
                continue
            old = known.nodes.get(name)
            made = entry(name, *cidrs, annotations=annotations, revision=count)
            known.put(made._replace(uid=old.uid if old and count % 3 else f"uid-{count}"))

    change(first)
    known.take_changes()
    snapshot = leases.snapshot(NodeSnapshot(list(known.nodes.values()), 1.0, 1))
    consumer.leases = {lease.subnets: lease.attrs for lease in snapshot.leases}
    consumer.malformed = {one.key: one.reason for one in snapshot.malformed}
    for step in rest:
        change(step)
        changed, removed = known.take_changes()
        consumer.apply(leases, NodeDelta(changed, removed, 1.0, count))
        _check(known.nodes, consumer)


def _check(nodes: Mapping[str, NodeEntry], consumer: _Consumer) -> None:
    """The same by looking at all nodes afresh, but for which of several rivals is told."""
    read, broken = _read(nodes)
    assert consumer.leases.keys() == {lease.subnets for lease in read.values()}
    for subnets, attrs in consumer.leases.items():
        claims = [name for name, lease in read.items() if lease.subnets == subnets]
        assert attrs in [read[name].attrs for name in claims]
        if "own" in claims:
            assert attrs == read["own"].attrs
        assert sum(name in consumer.malformed for name in claims) == len(claims) - 1
    assert broken <= consumer.malformed.keys()
    rivals = sum(1 for _ in read) - len(consumer.leases)
    assert len(consumer.malformed) == len(broken) + rivals


def _read(nodes: Mapping[str, NodeEntry]) -> tuple[dict[str, Lease], set[str]]:
    read, broken = {}, set()
    for name, node in nodes.items():
        try:
            lease = reader().lease(node)
        except MalformedEntry:
            broken.add(name)
        else:
            if lease is not None:
                read[name] = lease
    return read, broken
