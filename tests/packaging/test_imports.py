"""Importing the SDK costs little: what is heavy waits until it is used."""

import subprocess
import sys

import pytest

HEAVY = (
    *("pyroute2", "stevedore", "rich", "sqlite3", "importlib.metadata", "argparse", "ssl"),
    *("grpc", "google.protobuf", "aiohttp", "kubernetes", "prometheus_client"),
)


@pytest.mark.parametrize(
    "module",
    ["flannel_sdk", "flannel_sdk.interfaces", "flannel_sdk.model", "flannel_sdk.engine.discovery"],
)
def test_an_import_loads_nothing_heavy_and_no_plugin(module: str) -> None:
    # -S: site-packages may hold .pth files that import things; the path is given by hand instead.
    script = f"""
import sys
sys.path[:] = {sys.path!r}
before = set(sys.modules)
import {module}
new = set(sys.modules) - before
print(sorted(n for n in new if n in {HEAVY!r} or n.startswith("flannel_sdk_")))
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_what_a_daemon_starts_with_has_neither_metrics_nor_the_doctor() -> None:
    script = """
import sys
import flannel_sdk.agent.health, flannel_sdk.agent.node_agent, flannel_sdk.cli.daemon
late = ("prometheus_client", "flannel_sdk.health.exposition", "flannel_sdk.doctor", "tarfile")
print([name for name in late if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "[]\n"
