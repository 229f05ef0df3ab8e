"""The example program on the real kernel: traffic, adoption, and a restart by the agent."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flannel_sdk_exec import plugin

from flannel_sdk.agent import AgentOptions, InterfaceRequest, NodeAgent, open_store
from flannel_sdk.interfaces import Network, SupportsConfigWrite
from flannel_sdk.model import ByFamily, IPAddress, Lease, LeaseAttrs
from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.testing.waiting import eventually
from tests.overlay import V4, V6, Node, config, reaches, register, running, stream, told, underlay

pytestmark = pytest.mark.root

EXAMPLE = str(Path(__file__).parents[1] / "examples" / "routes.py")
COMMAND = [sys.executable, "-I", "-S", EXAMPLE]


@pytest.fixture
def nodes(make_netns: Callable[[str], Namespace]) -> list[Node]:
    return underlay(make_netns)


async def join(node: Node) -> Network:
    settings = config("exec", V4, V6, Command=COMMAND)
    network, _ = await register(plugin.create(node.context()), node, settings)
    return network


async def test_the_example_carries_traffic_and_loses_none_over_a_restart(
    nodes: list[Node],
) -> None:
    one, two = nodes
    first, second = await join(one), await join(two)
    async with contextlib.AsyncExitStack() as traffic:
        feed2 = await traffic.enter_async_context(running(second))
        await feed2.full([first.lease])
        async with running(first) as feed1:
            await feed1.full([second.lease])
            for family in (V4, V6):
                assert await reaches(one, two, family, size=1500)
                assert await reaches(two, one, family, size=1500)
            flow = await traffic.enter_async_context(stream(one, two, V4))
        async with running(await join(one)) as feed1:
            await feed1.full([second.lease])
            before = flow.sent
            await eventually(lambda: flow.sent > before + 20, "traffic goes on")
    assert flow.lost == set()


async def test_the_example_prunes_and_refuses_one_peer_alone(nodes: list[Node]) -> None:
    one, two = nodes
    bad = Lease(
        two.subnets._replace(ipv6=None),
        LeaseAttrs(ByFamily(IPAddress.parse("198.51.100.2")), "exec"),
    )
    network, second = await join(one), await join(two)
    one.ip("route add 10.5.9.0/24 via 192.0.2.2 proto 103")
    async with running(network) as feed:
        await feed.full([second.lease])
        assert one.routes(V4) == {"10.5.2.0/24": "192.0.2.2"}
        await feed.change([bad], [second.lease.subnets])
        assert one.routes(V6) == {}
        assert told(network, "peers", "refused") != {}


async def test_an_agent_starts_a_killed_program_again(nodes: list[Node]) -> None:
    one, two = nodes
    store = open_store("memory", {})
    assert isinstance(store, SupportsConfigWrite)
    await store.put_network_config(
        '{"Network": "10.5.0.0/16", "Backend": {"Type": "exec", "Command": ["sh", "-c",'
        f' "echo I am $$ >&2; exec {" ".join(COMMAND)}"]}}}}'
    )
    other = await store.acquire_lease(
        LeaseAttrs(ByFamily(two.public_ips.ipv4), "exec"), ByFamily(two.subnets.ipv4)
    )
    agent = NodeAgent(
        store,
        AgentOptions(interface=InterfaceRequest("eth0"), netns=one.netns.path, subnet_file=None),
    )
    running_agent = asyncio.create_task(agent.run())
    try:
        await eventually(lambda: len(one.routes()) == 1, "the peer has its route", 20.0)
        (pid,) = _programs(EXAMPLE, one)
        one.ip(f"route del {other.subnets.ipv4}")
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: len(one.routes()) == 1, "all peers are told again", 20.0)
        assert _programs(EXAMPLE, one) != [pid]
        assert agent.status()["restarts"] == 1
    finally:
        running_agent.cancel()
        await asyncio.wait([running_agent])
        await store.aclose()
    assert _programs(EXAMPLE, one) == []


def _programs(name: str, node: Node) -> list[int]:
    """The ids of this example's processes in the node's namespace."""
    found = []
    for pid in re.findall(r"\d+", node.netns.exec("ip netns pids " + node.netns.name)):
        with contextlib.suppress(OSError):
            if name in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(int(pid))
    return found
