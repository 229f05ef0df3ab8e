"""Stores that keep a record of the node: public IPs from it, readiness told to it."""

import asyncio

import pytest

from flannel_sdk.agent import AgentOptions, InterfaceRequest, NodeAgent
from flannel_sdk.errors import ConfigError, StoreUnavailable
from flannel_sdk.interfaces import SubnetManager
from flannel_sdk.model import ByFamily, ExternalInterface, IPAddress, Lease
from flannel_sdk.testing.waiting import eventually
from tests.unit.agent.recording import PUBLIC, Recording, make, network, running

STORED = IPAddress.parse("203.0.113.5")
FLAGS = ByFamily(IPAddress.parse("198.51.100.1"), IPAddress.parse("2001:db8::1"))
ASKED = InterfaceRequest("eth7", public_ip=FLAGS.ipv4, public_ipv6=FLAGS.ipv6)


class Record:
    """What such a store is asked and told; fails as told."""

    def __init__(self, store: SubnetManager, monkeypatch: pytest.MonkeyPatch) -> None:
        self.public_ips: ByFamily[IPAddress] = ByFamily(STORED)
        self.asked_failures: list[Exception] = []
        self.told_failures: list[Exception] = []
        self.ready: list[Lease] = []
        monkeypatch.setattr(store, "stored_public_ips", self._stored_public_ips, raising=False)
        monkeypatch.setattr(store, "network_ready", self._network_ready, raising=False)

    async def _stored_public_ips(self) -> ByFamily[IPAddress]:
        if self.asked_failures:
            raise self.asked_failures.pop(0)
        return self.public_ips

    async def _network_ready(self, lease: Lease) -> None:
        if self.told_failures:
            raise self.told_failures.pop(0)
        self.ready.append(lease)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[InterfaceRequest]:
    """What the underlay interface was chosen by."""
    asked: list[InterfaceRequest] = []

    def find(request: InterfaceRequest, *_: object) -> ExternalInterface:
        asked.append(request)
        return ExternalInterface("eth7", 1, 1500, PUBLIC, PUBLIC)

    monkeypatch.setattr("flannel_sdk.agent.underlay.find_external_interface", find)
    return asked


async def test_stored_public_ips_go_before_those_of_the_options(
    monkeypatch: pytest.MonkeyPatch, requests: list[InterfaceRequest]
) -> None:
    backend = Recording()
    async with network() as store:
        Record(store, monkeypatch).asked_failures = [StoreUnavailable("not yet")]
        options = AgentOptions(
            InterfaceRequest("eth7", public_ip=FLAGS.ipv4, public_ipv6=FLAGS.ipv6)
        )
        agent = NodeAgent(store, options, backends=lambda _: backend)
        async with running(agent):
            await agent.wait_registered()
    assert requests[0] == InterfaceRequest("eth7", public_ip=STORED, public_ipv6=FLAGS.ipv6)


async def test_a_stored_public_ip_that_is_none_ends_the_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with network() as store, asyncio.timeout(5):
        Record(store, monkeypatch).asked_failures = [ConfigError("node-public-ip", "no address")]
        with pytest.raises(ConfigError, match="no address"):
            await make(store, Recording()).run()


async def test_readiness_is_told_once_the_network_works(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Recording()
    async with network() as store:
        record = Record(store, monkeypatch)
        record.told_failures = [StoreUnavailable("not now"), KeyError("a defect")]
        agent = make(store, backend)
        async with running(agent):
            await eventually(lambda: record.ready, "told")
            await asyncio.wait_for(agent.wait_converged(), 1)
            assert record.ready == [backend.lease]


async def test_a_store_that_cannot_be_told_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with network() as store:
        record = Record(store, monkeypatch)
        record.told_failures = [ConfigError("kubeconfig", "no right to patch nodes/status")]
        agent = make(store, Recording())
        async with running(agent):
            await eventually(lambda: "is not told that the network is ready" in caplog.text, "said")
            await eventually(lambda: agent.status()["state"] == "running", "running")
    assert "no right to patch nodes/status" in caplog.text


async def test_readiness_is_not_told_before_subnet_env_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with network() as store:
        record = Record(store, monkeypatch)
        written = asyncio.Event()

        async def write(*_: object) -> None:
            await written.wait()

        monkeypatch.setattr("flannel_sdk.agent.node_agent._PUBLISH_SECONDS", 0.0)
        monkeypatch.setattr(NodeAgent, "_publish", write)
        agent = make(store, Recording())
        async with running(agent):
            await asyncio.wait_for(agent.wait_converged(), 5)
            assert record.ready == []
