"""The leases that a watch of nodes has told, and what differs when nodes change.

The core knows a lease by its subnets and the cluster by its node: two nodes may claim one pod CIDR.
The one that was there first keeps it, our own before all others, and the next has it once it goes.
"""

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.model import Lease, LeaseDelta, LeaseSnapshot, Malformed, Subnets
from flannel_sdk_kube.node_client import NodeDelta, NodeEntry, NodeSnapshot
from flannel_sdk_kube.nodes import NodeReader
from flannel_sdk_kube.pod_cidrs import described, shown


class LeaseTable:
    """A change costs as much as the nodes that it names, however many there are."""

    def __init__(self, reader: NodeReader, own: str | None) -> None:
        """``own``: the name of our node, if it holds a lease of ours."""
        self._reader = reader
        self._own = own
        self._leases: dict[str, Lease] = {}
        """By name of node: all that can be read, told or not."""
        self._holders: dict[Subnets, str] = {}
        self._rivals: dict[Subnets, dict[str, None]] = {}
        """Who else claims subnets that have a holder, in the order of their coming."""
        self._malformed: dict[str, str] = {}
        """By name of node: why its entry is not told as a lease."""
        self._told: dict[Subnets, Lease | None] = {}
        """Of the subnets that were touched since: what was told last."""
        self._blamed: dict[str, str | None] = {}
        """Of the nodes that were judged since: the reason that was told last."""

    def snapshot(self, item: NodeSnapshot) -> LeaseSnapshot:
        """All leases; call it once, first."""
        for node in item.nodes:
            self._put(node)
        self._told.clear()
        self._blamed.clear()
        leases = [self._leases[name] for name in self._holders.values()]
        malformed = [Malformed(shown(name), why) for name, why in self._malformed.items()]
        return LeaseSnapshot(leases, item.revision, malformed, item.received_at)

    def delta(self, item: NodeDelta) -> LeaseDelta | None:
        """What differs since the item before; None where nothing does."""
        for node in item.removed:
            self._drop(node.name)
        for node in item.changed:
            self._put(node)
        changed, removed = self._take_leases()
        malformed, healed = self._take_reasons()
        if not (changed or removed or malformed or healed):
            return None
        return LeaseDelta(changed, removed, item.revision, malformed, item.received_at, healed)

    def holder(self, subnets: Subnets) -> str | None:
        """The node that is told as the holder of these subnets, in printable form."""
        name = self._holders.get(subnets)
        return None if name is None else shown(name)

    def _take_leases(self) -> tuple[list[Lease], list[Subnets]]:
        changed: list[Lease] = []
        removed: list[Subnets] = []
        for subnets, old in self._told.items():
            new = self._present(subnets)
            if new is None and old is not None:
                removed.append(subnets)
            elif new is not None and (old is None or old.attrs != new.attrs):
                changed.append(new)
        self._told.clear()
        return changed, removed

    def _take_reasons(self) -> tuple[list[Malformed], list[str]]:
        malformed: list[Malformed] = []
        healed: list[str] = []
        for name, old in self._blamed.items():
            new = self._malformed.get(name)
            if new is not None and new != old:
                malformed.append(Malformed(shown(name), new))
            elif new is None and old is not None:
                healed.append(shown(name))
        self._blamed.clear()
        return malformed, healed

    def _put(self, node: NodeEntry) -> None:
        name, lease, reason = node.name, None, None
        try:
            lease = self._reader.lease(node)
        except MalformedEntry as error:
            reason = str(error)
        old = self._leases.get(name)
        if old is not None and (lease is None or lease.subnets != old.subnets):
            self._release(name, old.subnets)
        self._blame(name, reason)
        if lease is not None:
            self._touch(lease.subnets)
            self._leases[name] = lease
            self._claim(name, lease.subnets)

    def _drop(self, name: str) -> None:
        old = self._leases.get(name)
        if old is not None:
            self._release(name, old.subnets)
        self._blame(name, None)

    def _claim(self, name: str, subnets: Subnets) -> None:
        holder = self._holders.setdefault(subnets, name)
        if holder == name:
            return
        rivals = self._rivals.setdefault(subnets, {})
        if name == self._own:
            rivals.pop(name, None)
            self._rivals[subnets] = {holder: None} | rivals
            self._holders[subnets] = name
            name, holder = holder, name
        else:
            rivals[name] = None
        self._blame(name, f"Its pod CIDR {described(subnets)} was that of the node {holder}.")

    def _release(self, name: str, subnets: Subnets) -> None:
        """The node claims these subnets no more: a rival has them now, if there is one."""
        self._touch(subnets)
        del self._leases[name]
        rivals = self._rivals.get(subnets, {})
        if self._holders[subnets] != name:
            del rivals[name]
        elif rivals:
            heir = self._holders[subnets] = next(iter(rivals))
            del rivals[heir]
            self._blame(heir, None)
        else:
            del self._holders[subnets]
        if not rivals:
            self._rivals.pop(subnets, None)

    def _present(self, subnets: Subnets) -> Lease | None:
        holder = self._holders.get(subnets)
        return None if holder is None else self._leases[holder]

    def _touch(self, subnets: Subnets) -> None:
        self._told.setdefault(subnets, self._present(subnets))

    def _blame(self, name: str, reason: str | None) -> None:
        old = self._malformed.get(name)
        if reason == old:
            return
        self._blamed.setdefault(name, old)
        if reason is None:
            del self._malformed[name]
        else:
            self._malformed[name] = reason
