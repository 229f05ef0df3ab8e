"""Two networks in one process: two agents, two stores, one event loop.

Run as root. It makes two namespaces for itself, joins one network from each, prints both leases
and removes the namespaces. A real embedder has its namespaces, or works in the host's own.
"""

import asyncio
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from flannel_sdk.agent import AgentOptions, InterfaceRequest, NodeAgent, open_store
from flannel_sdk.interfaces import SupportsConfigWrite

NETWORKS = {
    "flannel-embed-a": '{"Network": "10.7.0.0/16", "Backend": {"Type": "vxlan", "VNI": 7}}',
    "flannel-embed-b": '{"Network": "10.8.0.0/16", "Backend": {"Type": "host-gw"}}',
}


async def join(name: str, document: str, folder: Path) -> None:
    """Join one network, say what was got, and leave; the lease and the data plane stay."""
    store = open_store("sqlite", {"path": str(folder / f"{name}.db")})
    assert isinstance(store, SupportsConfigWrite)
    await store.put_network_config(document)
    options = AgentOptions(
        interface=InterfaceRequest("eth0"),
        subnet_file=folder / f"{name}.env",
        netns=f"/run/netns/{name}",
    )
    agent = NodeAgent(store, options)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(agent.run())
            network = await agent.wait_registered()
            subnet = network.lease.subnets.ipv4
            print(f"{name}: subnet {subnet}, MTU {network.mtu}")
            running.cancel()
    finally:
        await store.aclose()


def make_namespace(name: str, number: int, cleanup: ExitStack) -> None:
    """A namespace with an underlay interface, removed with ``cleanup``."""
    subprocess.run(["ip", "netns", "add", name], check=True)
    cleanup.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
    for command in (
        "link add eth0 type veth peer name wire",
        f"addr add 192.0.2.{number}/24 dev eth0",
        "link set eth0 up",
        "link set wire up",
    ):
        subprocess.run(["ip", "-n", name, *command.split()], check=True)


async def main(folder: Path) -> None:
    """Both networks at once."""
    async with asyncio.TaskGroup() as tasks:
        for name, document in NETWORKS.items():
            tasks.create_task(join(name, document, folder))


if __name__ == "__main__":
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        for number, name in enumerate(NETWORKS, start=1):
            make_namespace(name, number, cleanup)
        asyncio.run(main(folder))
