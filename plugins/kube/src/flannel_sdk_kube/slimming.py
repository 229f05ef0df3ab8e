"""Raw JSON of the API server to the few fields that a lease needs: the hot path of a start.

A Node is some 8 KB, of which the better part is its status (images, conditions), which no lease
needs. API servers write it last, so that it is cut off before the rest is parsed. Whatever differs
from that order is parsed whole, with the same result.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from flannel_sdk_kube.node_client import NodeEntry

_STATUS: Final = b',"status":{'
_ITEMS: Final = b'"items":['
_NEXT_ITEM: Final = b',{"metadata":{'
INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"

_NO_CIDRS: Final = ((None,), ("",))
_NOTHING: Final[Mapping[str, Any]] = {}

# What decoding raises where the shape is another than the usual one.
_UNUSUAL: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError)

_Object = Mapping[str, Any]  # as json gives it

_loads = json.loads
_intern = sys.intern


class Event(NamedTuple):
    """One line of a watch."""

    kind: str
    """ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""
    node: NodeEntry | None
    """None for BOOKMARK and ERROR."""
    revision: str
    ends_initial: bool = False
    """A bookmark that says that all objects were told."""
    status: Mapping[str, object] | None = None
    """What an ERROR holds."""


class Page(NamedTuple):
    """A part of a list."""

    nodes: list[NodeEntry]
    revision: str
    rest: str
    """The token to go on with; empty at the end."""


class NotFromAPIServer(ValueError):
    """Bytes that are no JSON, or JSON of another shape."""


class Slimmer:
    """Decodes what the API server says of nodes, and keeps annotations below ``stem`` alone."""

    def __init__(self, stem: str) -> None:
        self._stem = stem

    def event(self, line: bytes) -> Event:
        """A line of a watch; NotFromAPIServer if it is none."""
        cut = line.find(_STATUS)
        if cut > 0:
            try:
                event = _loads(line[:cut] + b"}}")
                thing = event["object"]
                if "spec" in thing:
                    node = self._node(thing)
                    return Event(event["type"], node, node.revision)
            except _UNUSUAL:
                pass  # the order is another one
        return self._whole_event(_document(line))

    def node(self, body: bytes | bytearray) -> NodeEntry:
        """One Node; NotFromAPIServer if it is none."""
        return self._checked_node(_document(body))

    def page(self, body: bytes | bytearray) -> Page:
        """A NodeList; NotFromAPIServer if it is none."""
        return self._cut_page(body) or self._whole_page(_document(body))

    def _cut_page(self, body: bytes | bytearray) -> Page | None:
        """By the usual order of a list; None where only the general way can decide."""
        start = body.find(_ITEMS) + len(_ITEMS)
        if start < len(_ITEMS) or not body.endswith((b"]}", b"]}\n")):
            return None
        nodes: list[NodeEntry] = []
        try:
            meta = _loads(body[:start] + b"]}")["metadata"]
            while start > 0:
                cut = body.find(_STATUS, start)
                end = body.find(_NEXT_ITEM, start)
                if not start < cut < (end if end > 0 else len(body)):
                    return None
                item = _loads(body[start:cut] + b"}")
                if "spec" not in item:
                    return None
                nodes.append(self._node(item))
                start = end + 1
            return Page(nodes, _revision(meta), str(meta.get("continue") or ""))
        except _UNUSUAL:
            return None

    def _whole_page(self, document: _Object) -> Page:
        items, meta = document.get("items"), document.get("metadata")
        if not isinstance(meta, dict) or not isinstance(items, list | None):
            raise NotFromAPIServer("it is no list of nodes")
        nodes = [self._checked_node(item) for item in items or ()]
        return Page(nodes, _revision(meta), str(meta.get("continue") or ""))

    def _whole_event(self, event: _Object) -> Event:
        kind, thing = event.get("type"), event.get("object")
        if not isinstance(kind, str) or not isinstance(thing, dict):
            raise NotFromAPIServer("it is no event of a watch")
        if kind == "ERROR":
            return Event(kind, None, "", status=thing)
        if kind != "BOOKMARK":
            node = self._checked_node(thing)
            return Event(kind, node, node.revision)
        meta = thing.get("metadata")
        if not isinstance(meta, dict):
            raise NotFromAPIServer("it is a bookmark without metadata")
        marks = meta.get("annotations") or {}
        is_end = isinstance(marks, dict) and marks.get(INITIAL_EVENTS_END) == "true"
        return Event(kind, None, _revision(meta), ends_initial=is_end)

    def _checked_node(self, thing: object) -> NodeEntry:
        if not isinstance(thing, dict):
            raise NotFromAPIServer("it is no node")
        try:
            return self._node(thing)
        except (LookupError, TypeError, AttributeError) as error:
            raise NotFromAPIServer("it is no node") from error

    def _node(self, thing: _Object) -> NodeEntry:
        """Raises LookupError, TypeError or AttributeError where it is no Node."""
        meta = thing["metadata"]
        name, revision = meta["name"], meta["resourceVersion"]
        if not (isinstance(name, str) and name and isinstance(revision, str)):
            raise TypeError("a node without a name or a resourceVersion")
        stem, problem = self._stem, None
        annotations: dict[str, str] = {}
        for key, value in (meta.get("annotations") or _NOTHING).items():
            if key.startswith(stem):
                if isinstance(value, str):
                    annotations[_intern(key)] = value
                else:
                    problem = f"annotation {key} is no text"
        spec = thing.get("spec") or _NOTHING
        cidrs = tuple(spec.get("podCIDRs") or ()) or (spec.get("podCIDR"),)
        if cidrs in _NO_CIDRS:
            cidrs = ()
        elif not all(isinstance(cidr, str) for cidr in cidrs):
            cidrs, problem = (), "a pod CIDR is no text"
        return NodeEntry(name, str(meta.get("uid", "")), cidrs, annotations, revision, problem)


def _revision(meta: _Object) -> str:
    revision = meta.get("resourceVersion")
    if not isinstance(revision, str) or not revision:
        raise NotFromAPIServer("it has no resourceVersion")
    return revision


def pod_node_name(body: bytes | bytearray) -> str:
    """Of a Pod: the node that it is on, empty if none yet; NotFromAPIServer if it is no Pod."""
    spec = _document(body).get("spec")
    if not isinstance(spec, dict):
        raise NotFromAPIServer("it is no pod")
    return str(spec.get("nodeName") or "")


def _document(body: bytes | bytearray) -> _Object:
    try:
        document = _loads(body)
    except (ValueError, RecursionError) as error:
        raise NotFromAPIServer("it is no JSON") from error
    if not isinstance(document, dict):
        raise NotFromAPIServer("it is no JSON object")
    return document
