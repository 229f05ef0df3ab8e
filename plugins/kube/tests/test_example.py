"""``examples/watch_leases.py``, run as people would run it, on an API server that is restarted."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from plugins.kube.tests.apiserver import ApiServer
from plugins.kube.tests.node_objects import flannel_annotations

EXAMPLE = Path(__file__).parents[3] / "examples" / "watch_leases.py"

pytestmark = [pytest.mark.server, pytest.mark.slow]


async def test_it_prints_leases_as_they_come_and_go(apiserver: ApiServer) -> None:
    control = apiserver.control
    control.add_node("n1", "10.3.1.0/24", annotations=flannel_annotations("192.0.2.1"))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE), "--kubeconfig", str(apiserver.kubeconfig())),
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None

    async def line() -> str:
        assert child.stdout is not None
        async with asyncio.timeout(20):
            return (await child.stdout.readline()).decode().rstrip()

    try:
        assert await line() == "+ 10.3.1.0/24 at 192.0.2.1 (vxlan)"
        control.add_node("n2", "10.3.2.0/24", annotations=flannel_annotations("192.0.2.2"))
        assert await line() == "+ 10.3.2.0/24 at 192.0.2.2 (vxlan)"
        control.heartbeat("n2")
        control.annotate("n2", flannel_annotations("192.0.2.3"))
        assert await line() == "~ 10.3.2.0/24 at 192.0.2.3 (vxlan)"
        control.add_node("n9", "10.3.9.0/24", annotations=flannel_annotations("nonsense"))
        assert (await line()).startswith("! n9: ")
        apiserver.restart()
        control.delete_node("n1")
        assert await line() == "- 10.3.1.0/24"
        child.send_signal(signal.SIGINT)
        assert await child.wait() == 0
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def test_outside_a_pod_it_says_so_in_a_sentence() -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE), "--in-cluster"), env={}, stderr=asyncio.subprocess.PIPE
    )
    _, said = await child.communicate()
    assert child.returncode == 1
    assert said.count(b"\n") == 1
    assert b"KUBERNETES_SERVICE_HOST" in said
