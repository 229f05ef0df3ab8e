"""A small cluster inside the process, and a client of it whose calls fail when told to."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from enum import Enum, auto
from typing import TypeVar

from flannel_sdk_kube.known_nodes import KnownNodes
from flannel_sdk_kube.node_client import NodeDelta, NodeEntry, NodeSnapshot
from flannel_sdk_kube.slimming import Slimmer

from flannel_sdk.errors import StoreUnavailable
from plugins.kube.tests.api_control import Json, listed, mapping
from plugins.kube.tests.node_objects import node, pod_cidr_spec

T = TypeVar("T")


class FakeCluster:
    """Whole Node objects, changed as an API server would change them."""

    def __init__(self) -> None:
        self.revision = 100
        self.objects: dict[str, dict[str, object]] = {}
        self.closing = False
        self._waiting: set[asyncio.Event] = set()

    def create_node(self, body: Json) -> None:
        made = json.loads(json.dumps(body))
        name = str(mapping(made["metadata"])["name"])
        assert name not in self.objects
        if not made["metadata"].get("annotations"):
            made["metadata"].pop("annotations", None)
        made["metadata"]["uid"] = f"uid-{self.revision}"
        self.objects[name] = made
        self._changed(name)

    def add_node(
        self, name: str, *pod_cidrs: str, annotations: Mapping[str, str] | None = None
    ) -> None:
        self.create_node(node(name, *pod_cidrs, annotations=annotations))

    def delete_node(self, name: str) -> None:
        del self.objects[name]
        self.revision += 1
        self.wake()

    def assign_pod_cidrs(self, name: str, *pod_cidrs: str) -> None:
        """Also where there are some, which no API server allows."""
        self.objects[name]["spec"] = pod_cidr_spec(pod_cidrs)
        self._changed(name)

    def annotate(self, name: str, annotations: Mapping[str, object]) -> None:
        self.patch_status(name, {"metadata": {"annotations": annotations}})

    def patch_status(self, name: str, body: Json) -> None:
        """A strategic merge of ``nodes/NAME/status``."""
        found = self.objects[name]
        metadata = found["metadata"]
        assert isinstance(metadata, dict)
        annotations = dict(metadata.get("annotations") or {})
        for key, value in mapping(mapping(body.get("metadata", {})).get("annotations", {})).items():
            annotations.pop(key, None)
            if value is not None:
                annotations[key] = value
        metadata["annotations"] = annotations
        if not annotations:
            del metadata["annotations"]
        status = mapping(found["status"])
        conditions = {str(one["type"]): one for one in listed(status, "conditions")}
        for one in listed(mapping(body.get("status", {})), "conditions"):
            conditions[str(one["type"])] = one
        found["status"] = {"conditions": list(conditions.values())}
        self._changed(name)

    def annotations(self, name: str) -> Json:
        return mapping(mapping(self.objects[name]["metadata"]).get("annotations", {}))

    def conditions(self, name: str) -> list[Json]:
        return listed(mapping(self.objects[name]["status"]), "conditions")

    def wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def change(self) -> None:
        """Return at the next change or ``wake``."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.discard(event)

    @property
    def watches(self) -> int:
        """How many wait for a change now."""
        return len(self._waiting)

    def _changed(self, name: str) -> None:
        self.revision += 1
        metadata = self.objects[name]["metadata"]
        assert isinstance(metadata, dict)
        metadata["resourceVersion"] = str(self.revision)
        self.wake()


class Fault(Enum):
    """What happens to a call."""

    FAIL = auto()
    """It is not carried out."""
    UNANSWERED = auto()
    """It is carried out, and nobody is told."""


class FakeNodeClient:
    """A ``NodeClient`` of a ``FakeCluster``. Each call has two awaits: on its way, and back."""

    def __init__(self, cluster: FakeCluster, stem: str, own: str = "own") -> None:
        self.name = "kube:fake"
        self.cluster = cluster
        self.calls: list[str] = []
        """What was asked so far, in order."""
        self.patches: list[Json] = []
        self.faults: dict[int, Fault] = {}
        """By number of call, from 0."""
        self.before: dict[int, Callable[[], object]] = {}
        """What happens elsewhere before a call is carried out; by its number."""
        self.is_down = False
        self._slimmer = Slimmer(stem)
        self._own = own
        self._closed = False

    def last_heard(self) -> float | None:
        return None if self.is_down else time.monotonic()

    async def node_name(self) -> str:
        return await self._ask("name", lambda: self._own)

    async def get_node(self, name: str) -> NodeEntry | None:
        return await self._ask("get", lambda: self._entry(name))

    async def patch_node_status(self, name: str, body: Json) -> NodeEntry | None:
        def patch() -> NodeEntry | None:
            self.patches.append(json.loads(json.dumps(body)))
            if name not in self.cluster.objects:
                return None
            self.cluster.patch_status(name, body)
            return self._entry(name)

        return await self._ask("patch", patch)

    async def watch_nodes(self) -> AsyncGenerator[NodeSnapshot | NodeDelta, None]:
        known = KnownNodes()
        known.replace(self._entries())
        known.take_changes()
        yield NodeSnapshot(list(known.nodes.values()), time.monotonic(), self.cluster.revision)
        while not self._closed:
            known.replace(self._entries())
            changed, removed = known.take_changes()
            if changed or removed:
                yield NodeDelta(changed, removed, time.monotonic(), self.cluster.revision)
            else:
                await self.cluster.change()

    async def watch_node(self, name: str) -> AsyncGenerator[NodeEntry | None, None]:
        told: list[NodeEntry | None] = []
        while not self._closed:
            found = self._entry(name)
            old = told[-1] if told else None
            if not told or (found is None) != (old is None) or (old and not _same(old, found)):
                told = [found]
                yield found
            else:
                await self.cluster.change()

    async def aclose(self) -> None:
        self._closed = True
        self.cluster.wake()

    def _entry(self, name: str) -> NodeEntry | None:
        found = self.cluster.objects.get(name)
        return None if found is None else self._slimmer.node(json.dumps(found).encode())

    def _entries(self) -> dict[str, NodeEntry]:
        entries = (self._entry(name) for name in self.cluster.objects)
        return {entry.name: entry for entry in entries if entry is not None}

    async def _ask(self, name: str, apply: Callable[[], T]) -> T:
        number = len(self.calls)
        self.calls.append(name)
        self.before.get(number, int)()
        await asyncio.sleep(0)
        if self._closed or self.is_down:
            raise StoreUnavailable(f"{self.name} is {'closed' if self._closed else 'down'}")
        fault = self.faults.get(number)
        if fault is Fault.FAIL:
            raise StoreUnavailable(f"{self.name} refused the connection")
        result = apply()
        if fault is Fault.UNANSWERED:
            raise StoreUnavailable(f"{self.name} did not answer")
        await asyncio.sleep(0)
        return result


def _same(old: NodeEntry, new: NodeEntry | None) -> bool:
    return new is not None and old.is_same(new)
