"""The agent's health over HTTP: alive, ready and not ready again, two agents side by side."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from flannel_sdk.agent import AgentOptions, HealthOptions, InterfaceRequest, NodeAgent
from flannel_sdk.errors import ConfigError, KernelRefused, StoreUnavailable
from flannel_sdk.health import pulse
from flannel_sdk.interfaces import SubnetManager, SupportsConfigWrite
from flannel_sdk.model import Lease, LeaseAttrs, Subnets
from flannel_sdk.testing.waiting import eventually
from tests.unit.agent.recording import CONFIG, Recording, network, peer, running
from tests.unit.health.http_client import Reply, free_port, get


@asynccontextmanager
async def healthy(
    store: SubnetManager, backend: Recording, *, missing: float = 30.0
) -> AsyncIterator[tuple[NodeAgent, int]]:
    options = HealthOptions("127.0.0.1", free_port(), missing=missing)
    agent = NodeAgent(
        store,
        AgentOptions(InterfaceRequest("eth7"), health=options),
        backends=lambda _: backend,
    )
    async with running(agent):
        async with asyncio.timeout(10):
            while True:
                try:
                    await get(options.port, "/healthz")
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.001)
        yield agent, options.port


async def until(port: int, status: int) -> Reply:
    async with asyncio.timeout(20):
        while True:
            reply = await get(port, "/readyz")
            if reply.status == status:
                return reply
            await asyncio.sleep(0.01)


async def test_ready_once_the_peers_are_in_the_kernel_and_not_before() -> None:
    async with network(None) as store, healthy(store, Recording()) as (agent, port):
        assert (await get(port, "/healthz")).body == "flanneld is running"
        reply = await get(port, "/readyz")
        assert reply.status == 503
        assert reply.body.startswith("flanneld is not ready: ")
        assert isinstance(store, SupportsConfigWrite)
        await store.put_network_config(CONFIG)
        await agent.wait_converged()
        assert (await until(port, 200)).body == "flanneld is ready"


async def test_not_ready_while_the_lease_is_lost_and_ready_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with network() as store, healthy(store, backend := Recording()) as (agent, port):
        await agent.wait_converged()
        assert (await until(port, 200)).status == 200
        acquire, may_go_on = store.acquire_lease, asyncio.Event()

        async def acquire_lease(attrs: LeaseAttrs, previous: Subnets | None = None) -> Lease:
            if not may_go_on.is_set():
                raise StoreUnavailable("the store is away")
            return await acquire(attrs, previous)

        monkeypatch.setattr(store, "acquire_lease", acquire_lease)
        held = backend.lease
        await store.renew_lease(Lease(held.subnets, peer(9), held.expires_at, held.revision))
        reply = await until(port, 503)
        assert "it holds no lease" in reply.body
        may_go_on.set()
        await until(port, 200)


async def test_not_ready_while_the_data_plane_does_not_run() -> None:
    async with (
        network() as store,
        healthy(store, backend := Recording(), missing=0.0) as (
            agent,
            port,
        ),
    ):
        await agent.wait_converged()
        await until(port, 200)
        backend.run_failures += [KernelRefused("no", 1)] * 1000
        await store.acquire_lease(peer(7))
        reply = await until(port, 503)
        assert "have not been in the kernel" in reply.body
        backend.run_failures.clear()
        await until(port, 200)


async def test_a_loop_that_stands_still_answers_nobody_and_says_so_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pulse, "BEAT", 0.01)
    monkeypatch.setattr(pulse, "LONG", 0.1)
    async with network() as store, healthy(store, Recording()) as (agent, port):
        await agent.wait_converged()

        def probe() -> bool:
            async def within_a_moment() -> bool:
                try:
                    async with asyncio.timeout(0.3):
                        return (await get(port, "/healthz")).status == 200
                except TimeoutError:
                    return False

            return asyncio.run(within_a_moment())

        with ThreadPoolExecutor() as threads:
            assert not threads.submit(probe).result(), "answered while the loop stood still"
        assert (await get(port, "/healthz")).status == 200
        await eventually(lambda: "the event loop stood still" in caplog.text, "said so")
        metrics = (await get(port, "/metrics")).body
        assert 'flannel_sdk_event_loop_delay_seconds_bucket{le="+Inf"}' in metrics


async def test_two_agents_of_one_process_have_ports_and_numbers_of_their_own() -> None:
    async with (
        network() as one,
        network() as other,
        healthy(one, Recording()) as (first, first_port),
        healthy(other, Recording()) as (second, second_port),
    ):
        await first.wait_converged()
        await second.wait_converged()
        names = [(await get(port, "/metrics")).body for port in (first_port, second_port)]
        assert f'store="{one.name}"' in names[0]
        assert f'store="{other.name}"' in names[1]
        with pytest.raises(ConfigError, match="another process listens there"):
            await NodeAgent(one, AgentOptions(health=HealthOptions("127.0.0.1", first_port))).run()
