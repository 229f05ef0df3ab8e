"""What a start in a cluster of 5,000 real nodes costs: CPU and memory up to the first snapshot."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.kube.tests.apiserver import ApiServer
from plugins.kube.tests.kubeconfigs import write_service_account
from plugins.kube.tests.node_objects import realistic_nodes

pytestmark = [pytest.mark.server, pytest.mark.slow]

COUNT = 5_000
# twice, and a little above, what was measured
CPU_SECONDS = 1.5
MEBIBYTES = 60.0
SCRIPT = """
import asyncio, json, sys, time
from contextlib import aclosing
from flannel_sdk_kube.client import KubeClient
from flannel_sdk_kube.options import KubeOptions

async def start():
    options = KubeOptions(
        service_host="127.0.0.1", service_port=int(sys.argv[1]), service_account=sys.argv[2]
    )
    client = KubeClient(options)
    async with aclosing(client.watch_nodes()) as items:
        count = len((await anext(items)).nodes)
    await client.aclose()
    return count

count = asyncio.run(start())
with open("/proc/self/status") as status:
    peak = next(line for line in status if line.startswith("VmHWM")).split()[1]
loaded = sorted({"kubernetes"} & set(sys.modules))
print(json.dumps([count, time.process_time(), int(peak) / 1024, loaded]))
"""


@pytest.mark.parametrize("way", ["pages", "streamed"])
def test_a_start_is_cheap(
    way: str, apiserver: ApiServer, nodeapi: ApiServer, tmp_path: Path
) -> None:
    server = apiserver if way == "pages" else nodeapi
    server.control.add_nodes(realistic_nodes(COUNT))
    # the service account of a pod, with a token that both kinds of server know
    write_service_account(tmp_path, server.ca, server.tokens["flannel"], "kube-flannel")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(server.port), tmp_path],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    count, seconds, mebibytes, loaded = json.loads(done.stdout)
    print(f"{way}: {seconds:.2f} CPU s, {mebibytes:.1f} MiB")
    assert count == COUNT
    assert loaded == []
    assert seconds < CPU_SECONDS
    assert mebibytes < MEBIBYTES
