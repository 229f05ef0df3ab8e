"""The underlay interface changes under a running agent: followed under the same lease, or said."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace

import pytest

from flannel_sdk.agent import AgentOptions, InterfaceRequest, NodeAgent
from flannel_sdk.errors import ConfigError, InterfaceUnavailable, PermanentError
from flannel_sdk.interfaces import Backend, BackendContext, LeaseAcquirer, SubnetManager
from flannel_sdk.model import ByFamily, ExternalInterface, IPAddress, LeaseAttrs, NetworkConfig
from flannel_sdk.testing.waiting import eventually
from tests.unit.agent.recording import Recording, network, peer, running


def interface(address: str, name: str = "eth7", mtu: int = 1500) -> ExternalInterface:
    addresses = ByFamily(IPAddress.parse(address))
    return ExternalInterface(name, 7, mtu, addresses, addresses)


class Host:
    """The interface that is found, and the word that it may be another now."""

    def __init__(self) -> None:
        self.found: ExternalInterface | Exception = interface("192.0.2.1")
        self.changed = asyncio.Event()

    def find(self, *_: object) -> ExternalInterface:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def change(self, found: ExternalInterface | Exception) -> None:
        self.found = found
        self.changed.set()

    async def changes(self, *_: object, **__: object) -> AsyncGenerator[bool, None]:
        while True:
            await self.changed.wait()
            self.changed.clear()
            yield True


class Following(Recording):
    """Publishes the interface's address; refuses what it is told to refuse."""

    refused: ExternalInterface | None = None
    context: BackendContext

    async def get_backend(self, backend_type: str) -> Backend:
        if self.context.interface == self.refused:
            raise ConfigError("public-ip", "it is behind NAT")
        return await super().get_backend(backend_type)

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> Recording:
        self.events.append("register")
        public_ips = self.context.interface.public_ips
        self.lease = await leases.acquire_lease(LeaseAttrs(public_ips, config.backend_type))
        self.mtu = self.context.interface.mtu
        return self


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    monkeypatch.setattr("flannel_sdk.agent.underlay.find_external_interface", host.find)
    monkeypatch.setattr("flannel_sdk.agent.underlay.interface_changes", host.changes)
    return host


def make(store: SubnetManager, backend: Following) -> NodeAgent:
    def backends(context: BackendContext) -> Following:
        backend.context = context
        return backend

    return NodeAgent(store, AgentOptions(InterfaceRequest("eth7")), backends=backends)


def facts(agent: NodeAgent) -> Mapping[str, object]:
    found = agent.status()["interface"]
    assert isinstance(found, Mapping)
    return found


def keeper(agent: NodeAgent) -> Mapping[str, object]:
    found = agent.status()["keeper"]
    assert isinstance(found, Mapping)
    return found


async def settled(agent: NodeAgent) -> None:
    await eventually(lambda: agent.status()["state"] == "running", "running")


async def test_another_address_is_published_under_the_same_lease(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backend = Following()
    async with network() as store:
        other = await store.acquire_lease(peer(2))
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            before = backend.lease
            for address in ("192.0.2.9", "198.51.100.1", "192.0.2.1"):
                host.change(interface(address))
                await eventually(lambda: facts(agent)["public_ips"] == [address], address)  # noqa: B023
                await settled(agent)
                assert backend.lease.subnets == before.subnets
                assert str(backend.lease.attrs.public_ips.ipv4) == address
                assert set(backend.peers) == {other.subnets}
            again = await store.acquire_lease(backend.lease.attrs)
            assert again.subnets == before.subnets, "the store has the last one"
            assert keeper(agent)["reacquisitions"] == 0
            assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_another_mtu_or_name_makes_another_network(host: Host) -> None:
    backend = Following()
    async with network() as store:
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            host.change(interface("192.0.2.1", mtu=1400))
            await eventually(lambda: agent.status()["mtu"] == 1400, "the MTU")
            host.change(interface("192.0.2.1", "bond0", mtu=1400))
            await eventually(lambda: facts(agent)["name"] == "bond0", "the name")
            await settled(agent)
    assert backend.events.count("register") == 3


async def test_no_interface_leaves_all_as_it_is_and_is_said_once(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Following()
    async with network() as store:
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            for _ in range(3):
                host.change(InterfaceUnavailable("there is no eth7"))
                await eventually(lambda: facts(agent)["problem"] is not None, "the problem")
                await eventually(lambda: not host.changed.is_set(), "another look")
            assert facts(agent)["problem"] == "there is no eth7"
            assert agent.status()["state"] == "running"
            assert caplog.text.count("there is no eth7; going on with eth7 (192.0.2.1)") == 1
            host.change(interface("192.0.2.1"))
            await eventually(lambda: facts(agent)["problem"] is None, "no problem any more")
            assert backend.events.count("register") == 1, "it is the same interface"


@pytest.mark.parametrize("patience", [0.0, 0.3])
async def test_an_interface_that_does_not_come_in_time_is_one_sentence(
    host: Host, patience: float
) -> None:
    host.found = InterfaceUnavailable("there is no network interface called eth7: check --iface")
    async with network() as store:
        options = AgentOptions(InterfaceRequest("eth7"), interface_patience=patience)
        with pytest.raises(PermanentError, match="no network interface called eth7: check --ifac"):
            await NodeAgent(store, options, backends=lambda _: Following()).run()


async def test_an_interface_that_comes_in_time_is_taken(host: Host) -> None:
    host.found = InterfaceUnavailable("there is no eth7")
    backend = Following()
    async with network() as store:
        agent = make(store, backend)
        async with running(agent):
            await eventually(lambda: agent.status()["state"] == "starting", "starting")
            host.found = interface("192.0.2.1")
            await settled(agent)


async def test_an_interface_that_the_backend_refuses_is_not_gone_over_to(host: Host) -> None:
    backend = Following()
    backend.refused = interface("192.0.2.9")
    async with network() as store:
        agent = make(store, backend)
        async with running(agent) as task:
            await settled(agent)
            host.change(backend.refused)
            await eventually(lambda: facts(agent)["problem"] is not None, "the refusal")
            await settled(agent)
            assert facts(agent)["problem"] == "eth7 (192.0.2.9) cannot be used: it is behind NAT"
            assert facts(agent)["public_ips"] == ["192.0.2.1"]
            assert not task.done()
            host.change(interface("192.0.2.10"))
            await eventually(lambda: facts(agent)["public_ips"] == ["192.0.2.10"], "the next")
            await settled(agent)
            assert facts(agent)["problem"] is None


async def test_a_change_while_a_change_is_registered_is_followed(host: Host) -> None:
    backend = Following()
    async with network() as store:
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            for number in range(10, 20):
                host.change(interface(f"192.0.2.{number}"))
                await asyncio.sleep(0)
            await eventually(lambda: facts(agent)["public_ips"] == ["192.0.2.19"], "the last")
            await settled(agent)
            assert str(backend.lease.attrs.public_ips.ipv4) == "192.0.2.19"


async def test_a_lease_lost_at_the_same_time_is_taken_again(host: Host) -> None:
    backend = Following()
    async with network() as store:
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            # The entry goes to somebody else at the moment that we move.
            await store.renew_lease(
                replace(backend.lease, attrs=LeaseAttrs(peer(7).public_ips, "recording"))
            )
            host.change(interface("192.0.2.9"))
            await eventually(lambda: facts(agent)["public_ips"] == ["192.0.2.9"], "moved")
            await eventually(
                lambda: str(backend.lease.attrs.public_ips.ipv4) == "192.0.2.9", "published"
            )
            await settled(agent)
            mine = await store.acquire_lease(backend.lease.attrs)
            theirs = await store.acquire_lease(peer(7))
            assert mine.subnets != theirs.subnets
