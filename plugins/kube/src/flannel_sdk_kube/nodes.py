"""Nodes to leases: the subnets are the pod CIDRs, the rest is in annotations."""

from collections.abc import Iterable
from typing import Final

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.model import ByFamily, Family, Lease, Subnets
from flannel_sdk_kube.annotations import MANAGED, AnnotationNames, AttrsReader
from flannel_sdk_kube.node_client import NodeEntry
from flannel_sdk_kube.pod_cidrs import pod_subnets

_MOST_DIGITS: Final = 19


class NodeReader:
    """Reads the leases of nodes, as far as they are of ``families``: those of one network."""

    def __init__(self, names: AnnotationNames, families: Iterable[Family]) -> None:
        self._managed = names.managed
        self._families = tuple(families)
        self._attrs = AttrsReader(names, self._families)

    def lease(self, node: NodeEntry) -> Lease | None:
        """The lease that a node holds; None if it holds none. MalformedEntry if it cannot be read.

        Its expiry is None: it lives as long as the node.
        """
        if node.annotations.get(self._managed) != MANAGED:
            return None
        if node.problem is not None:
            raise MalformedEntry(f"It is no node: {node.problem}.")
        subnets = self.subnets(node)
        attrs = self._attrs.read(node.annotations)
        return Lease(subnets, attrs, None, revision_number(node.revision))

    def subnets(self, node: NodeEntry) -> Subnets:
        """A node's pod CIDRs of these families; MalformedEntry if there are none."""
        subnets = pod_subnets(node)
        families = self._families
        if subnets.ipv4 is not None and Family.IPV4 not in families:
            subnets = ByFamily(None, subnets.ipv6)
        if subnets.ipv6 is not None and Family.IPV6 not in families:
            subnets = ByFamily(subnets.ipv4)
        if subnets == (None, None):
            wanted = " or ".join(str(family) for family in families)
            raise MalformedEntry(f"It has no {wanted} pod CIDR.")
        return subnets


def revision_number(text: str) -> int:
    """A resourceVersion as a number; 0 where it is none."""
    is_number = len(text) <= _MOST_DIGITS and text.isascii() and text.isdecimal()
    return int(text) if is_number else 0


class Revisions:
    """Numbers for the revisions of one node that rise with each that is new.

    Resource versions do not where an API server is restored from a backup, and what compares
    revisions would take all that it says from then on for old.
    """

    def __init__(self) -> None:
        self._text = ""
        self._number = 0

    def of(self, node: NodeEntry) -> int:
        """The number of a node's newest revision, which is its resourceVersion if that rose."""
        if node.revision != self._text:
            self._text = node.revision
            self._number = max(revision_number(node.revision), self._number + 1)
        return self._number
