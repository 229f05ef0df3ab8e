"""A process of its own that watches all nodes of a server and prints what that cost it.

``python first_snapshot.py PORT SERVICE_ACCOUNT_FOLDER [COUNT]``: after the first snapshot one line
of JSON; with COUNT, another one when the node ``last`` was changed, COUNT events later.
"""

import asyncio
import json
import sys
import time
from contextlib import aclosing
from pathlib import Path

from flannel_sdk_kube import KubeOptions
from flannel_sdk_kube.client import KubeClient
from flannel_sdk_kube.node_client import NodeDelta, NodeSnapshot


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    kib = next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]
    return int(kib) / 1024


async def _main(port: int, account: Path, count: int) -> None:
    options = KubeOptions(service_host="127.0.0.1", service_port=port, service_account=account)
    client = KubeClient(options)
    async with aclosing(client.watch_nodes()) as items:
        snapshot = await anext(items)
        assert isinstance(snapshot, NodeSnapshot)
        cost = {"nodes": len(snapshot.nodes), "cpu": time.process_time(), "peak_mib": _peak_mib()}
        print(json.dumps(cost), flush=True)
        before, told = time.process_time(), 0
        while count:
            item = await anext(items)
            assert isinstance(item, NodeDelta)
            told += len(item.changed)
            if any(node.name == "last" for node in item.changed):
                break
        spent = time.process_time() - before
        if count:
            print(json.dumps({"us_an_event": spent / count * 1e6, "told": told}), flush=True)
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2]), int((*sys.argv, "0")[3])))
