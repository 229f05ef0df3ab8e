"""The nodes that a watch knows, and what changed since that was last told."""

from collections.abc import Mapping

from flannel_sdk_kube.node_client import NodeEntry


class KnownNodes:
    """Changes are merged by node: only what differs from what was told last is told.

    A node that differs by its revision alone stays as it was told.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, NodeEntry] = {}
        self._told: dict[str, NodeEntry | None] = {}
        """Of the nodes that changed since: as they were told last, None for not at all."""

    def put(self, node: NodeEntry) -> None:
        """A node is there, as given."""
        old = self.nodes.get(node.name)
        if old is None or not node.is_same(old):
            self._told.setdefault(node.name, old)
            self.nodes[node.name] = node

    def drop(self, name: str) -> None:
        """A node is gone."""
        old = self.nodes.pop(name, None)
        if old is not None:
            self._told.setdefault(name, old)

    def replace(self, nodes: Mapping[str, NodeEntry]) -> None:
        """These are all the nodes."""
        for name in self.nodes.keys() - nodes.keys():
            self.drop(name)
        for node in nodes.values():
            self.put(node)

    def take_changes(self) -> tuple[list[NodeEntry], list[NodeEntry]]:
        """Changed nodes, and removed ones as they were told last; now they count as told."""
        changed: list[NodeEntry] = []
        removed: list[NodeEntry] = []
        for name, told in self._told.items():
            now = self.nodes.get(name)
            if told is not None and (now is None or now.uid != told.uid):
                removed.append(told)
            if now is None:
                continue
            if told is None or not now.is_same(told):
                changed.append(now)
            else:
                self.nodes[name] = told
        self._told.clear()
        return changed, removed
