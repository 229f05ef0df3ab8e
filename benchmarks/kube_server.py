"""An API server of a benchmark's own with nodes of a real size, and a writer that changes them.

Server, certificates and Node objects are those of the kube store's tests.
"""

import http.client
import json
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flannel_sdk.errors import ConfigError

if TYPE_CHECKING:
    from plugins.kube.tests.apiserver import ApiServer

STEM = "flannel.alpha.coreos.com/"
TOUCHED = "touched"
"""A node that no measurement counts."""
_STRATEGIC = "application/strategic-merge-patch+json"


class Site(NamedTuple):
    """One server with nodes, and how a pod reaches it."""

    kind: str
    server: "ApiServer"
    options: Mapping[str, str]


@contextmanager
def kube_sites(nodes: int) -> Iterator[list[Site]]:
    """A full server of each kind that is here, one that lists and one that streams.

    ConfigError, with what to do, where there is none.
    """
    kinds = _kinds()
    with tempfile.TemporaryDirectory(prefix="flannel-bench-") as folder:
        started: list[ApiServer] = []
        sites = []
        try:
            for kind, start in kinds.items():
                server = start(Path(folder))
                started.append(server)
                sites.append(_filled(kind, server, Path(folder, kind), nodes))
            yield sites
        finally:
            for server in started:
                server.release()


def _kinds() -> dict[str, "Callable[[Path], ApiServer]"]:
    try:
        from plugins.etcd.tests.certificates import Authority
        from plugins.kube.tests.apiserver import (
            ApiServer,
            ApiSetup,
            NodeApiServer,
            find_nodeapi,
            find_program,
            start_apiserver,
        )
    except ModuleNotFoundError as error:
        raise ConfigError("kube", f"there is no {error.name}: make test installs it") from error

    kinds: dict[str, Callable[[Path], ApiServer]] = {}
    if (program := find_program(os.environ)) is not None:
        kinds["in pages"] = lambda folder: start_apiserver(
            ApiSetup(program, Authority(folder / "pages"))
        )
    if (newer := find_nodeapi()) is not None:
        kinds["streamed"] = lambda folder: start_apiserver(
            ApiSetup(newer.server, Authority(folder / "streamed"), etcd=newer.etcd), NodeApiServer
        )
    if not kinds:
        raise ConfigError("kube", "there is no kube-apiserver: make kube-apiserver builds one")
    return kinds


def _filled(kind: str, server: "ApiServer", folder: Path, nodes: int) -> Site:
    from plugins.kube.tests.kubeconfigs import write_service_account
    from plugins.kube.tests.node_objects import realistic_node, realistic_nodes

    server.control.add_nodes(realistic_nodes(nodes))
    server.control.create_node(realistic_node(TOUCHED, nodes))
    write_service_account(folder, server.ca, server.tokens["flannel"], "kube-flannel")
    options = {
        "service_host": "127.0.0.1",
        "service_port": str(server.port),
        "service_account": str(folder),
    }
    return Site(kind, server, options)


class Writer:
    """Changes nodes as kubelets and other agents do, over one connection that stays."""

    def __init__(self, server: "ApiServer") -> None:
        context = ssl.create_default_context(cafile=str(server.ca))
        self._token = server.tokens["admin"]
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", server.port, timeout=30, context=context
        )

    def touch(self) -> None:
        """Change the lease that no measurement counts."""
        self._annotate(TOUCHED, {"VNI": 1, "Touched": time.monotonic()})

    def changes(self, count: int, pause: float) -> list[float]:
        """Change the leases of ``count`` nodes, one by one; seconds that each answer took.

        Each new lease says when it was written, in seconds of CLOCK_MONOTONIC.
        """
        seconds = []
        for number in range(count):
            begin = time.monotonic()
            self._annotate(f"n{number:05d}", {"Put": begin})
            seconds.append(time.monotonic() - begin)
            time.sleep(pause)
        return seconds

    def heartbeats(self, count: int) -> None:
        """What kubelets write all the time and no lease depends on; then a touch."""
        from plugins.kube.tests.node_objects import ready_condition

        for number in range(count):
            body = {"status": {"conditions": [ready_condition()]}}
            self._patch(f"/api/v1/nodes/n{number:05d}/status", body)
        self.touch()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _annotate(self, node: str, backend_data: Mapping[str, object]) -> None:
        text = json.dumps(backend_data, separators=(",", ":"))
        body = {"metadata": {"annotations": {f"{STEM}backend-data": text}}}
        self._patch(f"/api/v1/nodes/{node}/status", body)

    def _patch(self, path: str, body: Mapping[str, object]) -> None:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": _STRATEGIC}
        self._connection.request("PATCH", path, json.dumps(body), headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the API server refused a patch: {said.decode()[:500]}")
