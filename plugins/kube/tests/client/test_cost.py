"""What a cluster of 5,000 nodes of real size costs a daemon until the first snapshot, and then."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.kube.tests.api_control import ApiControl
from plugins.kube.tests.apiserver import ApiServer
from plugins.kube.tests.client import first_snapshot
from plugins.kube.tests.kubeconfigs import write_service_account
from plugins.kube.tests.node_objects import realistic_nodes

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(240)]

NODES = 5000
HEARTBEATS = 1000
CPU_SECONDS = 1.5
PEAK_MIB = 60.0
MICROSECONDS_AN_EVENT = 1500.0


def _beat(control: ApiControl) -> None:
    for number in range(HEARTBEATS):
        control.heartbeat(f"n{number:05d}")
    stem = "flannel.alpha.coreos.com/"
    control.add_node("last", annotations={f"{stem}public-ip": "192.0.2.1"})


def test_a_large_cluster_in_pages(apiserver: ApiServer, tmp_path: Path) -> None:
    _check_cost(apiserver, tmp_path)


def test_a_large_cluster_as_a_stream(nodeapi: ApiServer, tmp_path: Path) -> None:
    _check_cost(nodeapi, tmp_path)


def _check_cost(server: ApiServer, folder: Path) -> None:
    server.load_nodes(realistic_nodes(NODES))
    write_service_account(folder, server.ca, server.tokens["flannel"], "kube-flannel")
    program = [sys.executable, first_snapshot.__file__, str(server.port), str(folder)]
    with subprocess.Popen(
        [*program, str(HEARTBEATS)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        _beat(server.control)
        then = json.loads(process.stdout.readline())
        assert process.wait(30) == 0
    print(first, then)
    assert first["nodes"] == NODES
    assert first["cpu"] < CPU_SECONDS
    assert first["peak_mib"] < PEAK_MIB
    assert then["told"] == 1
    assert then["us_an_event"] < MICROSECONDS_AN_EVENT
