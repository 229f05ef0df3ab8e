"""The tests' own hand on an API server, spoken with the standard library alone."""

import http.client
import json
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias
from urllib.parse import quote

from plugins.kube.tests.node_objects import node, pod_cidr_spec, ready_condition

Json: TypeAlias = Mapping[str, object]

STRATEGIC = "application/strategic-merge-patch+json"
_TIMEOUT = 15.0
_WRITERS = 4


class Refused(Exception):
    """The API server answered with an error; the message is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Answer(NamedTuple):
    """What came back, whatever the status is."""

    status: int
    body: Json
    headers: Mapping[str, str]


class ApiControl:
    """Calls as one user; each is a connection of its own and blocks for up to 15 s.

    OSError where the server does not answer, ``Refused`` where it answers with an error.
    """

    def __init__(self, port: int, ca: Path, token: str) -> None:
        self._port = port
        self._ca = ca
        self._token = token

    def as_user(self, token: str) -> Self:
        """The same server with another token."""
        return type(self)(self._port, self._ca, token)

    # -- nodes -----------------------------------------------------------------

    def add_node(
        self, name: str, *pod_cidrs: str, annotations: Mapping[str, str] | None = None
    ) -> Json:
        """A small Node; with no pod CIDRs it waits for some."""
        return self.create_node(node(name, *pod_cidrs, annotations=annotations))

    def create_node(self, body: Json) -> Json:
        """Any Node object; as the server keeps it."""
        return self.ask("POST", "/api/v1/nodes", body)

    def add_nodes(self, bodies: Iterable[Json]) -> None:
        """Many of them, as fast as the server takes them."""
        pending = iter(bodies)
        taking = threading.Lock()
        failed: list[Exception] = []

        def write() -> None:
            try:
                with self._connection() as connection:
                    while not failed:
                        with taking:
                            body = next(pending, None)
                        if body is None:
                            return
                        _checked(self._send(connection, "POST", "/api/v1/nodes", body))
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=write) for _ in range(_WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for error in failed:
            raise error

    def get_node(self, name: str) -> Json:
        return self.ask("GET", _node(name))

    def nodes(self) -> list[Json]:
        """All of them, whole."""
        return listed(self.ask("GET", "/api/v1/nodes"), "items")

    def assign_pod_cidrs(self, name: str, *pod_cidrs: str) -> Json:
        """What the controller manager does with a node that has none."""
        return self.patch(_node(name), {"spec": pod_cidr_spec(pod_cidrs)})

    def annotate(self, name: str, annotations: Mapping[str, str | None]) -> Json:
        """Set annotations, remove those that are None."""
        return self.patch(_node(name), {"metadata": {"annotations": annotations}})

    def patch_status(self, name: str, body: Json, content_type: str = STRATEGIC) -> Json:
        return self.patch(f"{_node(name)}/status", body, content_type)

    def heartbeat(self, name: str) -> Json:
        """What a kubelet writes all the time, and no lease depends on."""
        return self.patch_status(name, {"status": {"conditions": [ready_condition()]}})

    def delete_node(self, name: str) -> None:
        self.ask("DELETE", _node(name))

    def delete_all_nodes(self) -> None:
        self.ask("DELETE", "/api/v1/nodes")

    def resource_version(self) -> str:
        """The revision of the nodes' list now."""
        body = self.ask("GET", "/api/v1/nodes?limit=1")
        return str(mapping(body["metadata"])["resourceVersion"])

    # -- what else a daemon meets ------------------------------------------------

    def add_pod(self, namespace: str, name: str, node_name: str) -> None:
        """A pod that runs on a node; the namespace is made if need be."""
        self.ensure("/api/v1/namespaces", {"metadata": {"name": namespace}})
        spec = {"nodeName": node_name, "containers": [{"name": "main", "image": "example/main"}]}
        path = f"/api/v1/namespaces/{namespace}/pods"
        self.ask("POST", path, {"metadata": {"name": name}, "spec": spec})

    def ensure(self, path: str, body: Json) -> None:
        """Create an object, or leave the one that is there."""
        try:
            self.ask("POST", path, body)
        except Refused as error:
            if error.status != 409:
                raise

    # -- below -------------------------------------------------------------------

    def patch(self, path: str, body: Json, content_type: str = STRATEGIC) -> Json:
        return self.ask("PATCH", path, body, content_type)

    def ask(
        self, method: str, path: str, body: Json | None = None, content_type: str | None = None
    ) -> Json:
        """Any call."""
        return _checked(self.call(method, path, body, content_type))

    def call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        content_type: str | None = None,
        accept: str = "application/json",
    ) -> Answer:
        """The same without an exception for what the server refuses."""
        with self._connection() as connection:
            return self._send(
                connection, method, path, body, content_type=content_type, accept=accept
            )

    def watch(self, query: str, timeout: float = 10.0) -> Iterator[Json]:
        """The events of one watch of nodes, until the server ends it."""
        with self._connection(timeout) as connection:
            connection.request("GET", f"/api/v1/nodes?watch=1&{query}", headers=self._headers)
            response = connection.getresponse()
            if response.status != 200:
                _checked(_answer(response))
            while line := response.readline():
                yield mapping(json.loads(line))

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _send(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        content_type: str | None = None,
        accept: str = "application/json",
    ) -> Answer:
        headers = self._headers | {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            return _answer(connection.getresponse())
        except http.client.HTTPException as error:
            raise OSError(f"no whole answer: {error!r}") from error

    @contextmanager
    def _connection(self, timeout: float = _TIMEOUT) -> Iterator[http.client.HTTPSConnection]:
        context = ssl.create_default_context(cafile=str(self._ca))
        made = http.client.HTTPSConnection(
            "127.0.0.1", self._port, timeout=timeout, context=context
        )
        try:
            yield made
        finally:
            made.close()


def _node(name: str) -> str:
    assert name
    return f"/api/v1/nodes/{quote(name, safe='')}"


def _answer(response: http.client.HTTPResponse) -> Answer:
    text = response.read()
    body = json.loads(text) if text.startswith(b"{") else {"message": text.decode()}
    return Answer(response.status, body, dict(response.headers))


def _checked(answer: Answer) -> Json:
    if answer.status >= 300:
        raise Refused(answer.status, str(answer.body.get("message")))
    return answer.body


def mapping(value: object) -> Json:
    """A JSON object that has to be one."""
    assert isinstance(value, dict), value
    return value


def listed(body: Json, name: str) -> list[Json]:
    """A list of JSON objects in another."""
    value = body.get(name) or []
    assert isinstance(value, list), value
    return value
