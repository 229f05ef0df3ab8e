"""The network's configuration changes under a running agent: applied, refused, or said."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from typing import cast

import pytest

from flannel_sdk.agent import NodeAgent
from flannel_sdk.agent.config_follower import restart_reason
from flannel_sdk.errors import (
    ConfigError,
    KernelRefused,
    KernelUnsupported,
    PermanentError,
    StoreUnavailable,
)
from flannel_sdk.interfaces import LeaseAcquirer, SubnetManager, SupportsConfigWrite
from flannel_sdk.model import (
    ByFamily,
    IPAddress,
    Lease,
    LeaseAttrs,
    NetworkConfig,
    Prefix,
    format_subnet_key,
)
from flannel_sdk.stores.manager import EmbeddedSubnetManager
from flannel_sdk.testing.waiting import eventually
from tests.unit.agent.recording import Recording, make, network, peer, running


def document(network: str = "10.5.0.0/16", kind: str = "recording", **options: object) -> str:
    return json.dumps({"Network": network, "Backend": {"Type": kind, **options}})


async def put(store: SubnetManager, document: str) -> None:
    assert isinstance(store, SupportsConfigWrite)
    await store.put_network_config(document)


def note(agent: NodeAgent, name: str) -> str | None:
    config = agent.status()["config"]
    assert isinstance(config, dict)
    return cast("str | None", config[name])


def keeper_facts(agent: NodeAgent) -> Mapping[str, object]:
    facts = agent.status()["keeper"]
    assert isinstance(facts, Mapping)
    return facts


async def settled(agent: NodeAgent) -> None:
    await eventually(lambda: agent.status()["state"] == "running", "running")


async def test_another_backend_option_is_applied_and_the_peers_stay() -> None:
    backend = Recording()
    async with network(document(Depth=1)) as store:
        other = await store.acquire_lease(peer(2))
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            before = backend.lease.subnets
            await put(store, document(Depth=2))
            await eventually(lambda: len(backend.configs) == 2, "registered again")
            await settled(agent)
            await eventually(lambda: backend.events[-1] == "retire", "the old one was cleared")
            assert backend.configs[-1].backend_options.get("Depth") == 2
            assert backend.lease.subnets == before
            assert set(backend.peers) == {other.subnets}
            assert agent.status()["config"] == {"restart_needed": None, "refused": None}
    assert backend.events.count("register") == 2


async def test_a_wider_network_is_applied_and_takes_in_new_peers() -> None:
    backend = Recording()
    async with network(document()) as store:
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            await put(store, document("10.4.0.0/15"))
            await eventually(lambda: len(backend.configs) == 2, "registered again")
            far = ByFamily(Prefix.parse("10.4.7.0/24"))
            await store.acquire_lease(peer(2), previous=far)
            await eventually(lambda: far in backend.peers, "a peer of the wider network")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (document("10.6.0.0/16"), "gives no subnets like ours, 10.5."),
        (document(kind="other"), "the backend is other and not recording any more"),
    ],
)
async def test_what_needs_a_restart_is_said_once_and_forgotten_when_it_comes_back(
    changed: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backend = Recording()
    async with network(document(Depth=1)) as store:
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            await put(store, changed)
            await eventually(lambda: note(agent, "restart_needed"), "the note")
            assert said in str(note(agent, "restart_needed"))
            await put(store, document(Depth=1))
            await eventually(lambda: note(agent, "restart_needed") is None, "forgotten")
            assert agent.status()["state"] == "running"
    assert backend.events.count("register") == 1
    assert sum(said in record.message for record in caplog.records) == 1


async def test_after_a_change_that_needs_a_restart_one_that_does_not_is_applied() -> None:
    backend = Recording()
    async with network(document(Depth=1)) as store:
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            await put(store, document("10.6.0.0/16"))
            await eventually(lambda: note(agent, "restart_needed"), "the note")
            await put(store, document(Depth=3))
            await eventually(lambda: len(backend.configs) == 2, "registered again")
            assert note(agent, "restart_needed") is None


async def test_what_the_backend_cannot_use_changes_nothing_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Recording()
    async with network(document(Depth=1)) as store:
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            backend.register_failures = [ConfigError("Backend.Depth", "Depth is too deep.")]
            await put(store, document(Depth=99))
            await eventually(lambda: note(agent, "refused") == "Depth is too deep", "the note")
            await settled(agent)
            assert [config.backend_options.get("Depth") for config in backend.configs] == [1, 1]
            await put(store, document(Depth=2))
            await eventually(lambda: len(backend.configs) == 3, "the next is tried")
            assert note(agent, "refused") is None
            await settled(agent)
    said = [record.message for record in caplog.records if "too deep" in record.message]
    assert len(said) == 1
    assert "too deep; going on" in said[0]


async def test_what_is_no_configuration_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    backend = Recording()
    async with network(document(Depth=1)) as store:
        assert isinstance(store, EmbeddedSubnetManager)
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            await store.storage.write(lambda table: table.put_config('{"Network": "nonsense"}'))
            await eventually(lambda: "nonsense" in caplog.text, "said")
            await put(store, document(Depth=2))
            await eventually(lambda: len(backend.configs) == 2, "the next is applied")
            await settled(agent)
    assert [config.backend_options.get("Depth") for config in backend.configs] == [1, 2]


async def test_a_registration_that_goes_on_failing_gives_way_to_the_next_change() -> None:
    backend = Recording()
    async with network(document(Depth=1)) as store:
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            backend.register_failures = [KernelRefused("busy", 16) for _ in range(100)]
            await put(store, document(Depth=2))
            await eventually(lambda: len(backend.register_failures) < 99, "tried")
            backend.register_failures = [KernelRefused("busy", 16)]
            await put(store, document(Depth=3))
            await settled(agent)
            await eventually(lambda: len(backend.configs) == 2, "registered")
            assert backend.configs[-1].backend_options.get("Depth") == 3


@pytest.mark.parametrize(
    "error", [StoreUnavailable("down"), PermanentError("forbidden"), KeyError("a defect")]
)
async def test_a_watch_that_fails_is_tried_again_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    backend = Recording()
    async with network(document(Depth=1)) as store:
        real, failures = store.watch_network_config, [error]  # type: ignore[attr-defined]  # SupportsConfigWatch

        async def failing() -> AsyncGenerator[NetworkConfig, None]:
            if failures:
                raise failures.pop()
            async for config in real():
                yield config

        monkeypatch.setattr(store, "watch_network_config", failing)
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            await put(store, document(Depth=2))
            await eventually(lambda: len(backend.configs) == 2, "applied")
            await settled(agent)


async def test_many_changes_at_once_end_with_the_newest() -> None:
    backend = Recording()
    async with network(document(Depth=0)) as store:
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            for depth in range(1, 21):
                await put(store, document(Depth=depth))
                if depth % 5 == 0:
                    await asyncio.sleep(0.01)
            await eventually(
                lambda: backend.configs[-1].backend_options.get("Depth") == 20, "the newest"
            )
            await settled(agent)


async def test_a_store_that_cannot_tell_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with network(document()) as store:
        monkeypatch.delattr(type(store), "watch_network_config")
        agent = make(store, Recording())
        async with running(agent):
            await settled(agent)


@pytest.mark.parametrize(
    ("old", "new", "subnet", "reason"),
    [
        ("10.5.0.0/16", "10.4.0.0/15", "10.5.1.0/24", None),
        ("10.5.0.0/16", "10.5.0.0/17", "10.5.1.0/24", "is 10.5.0.0/17 and does not hold 10.5.0"),
        ("10.5.0.0/16", "10.6.0.0/16", "10.5.1.0/24", "no subnets like ours, 10.5.1.0/24"),
        # The lease is of the new network already: acquired in the moment of the change.
        ("10.5.0.0/16", "10.6.0.0/16", "10.6.1.0/24", None),
    ],
)
def test_which_networks_need_a_restart(old: str, new: str, subnet: str, reason: str | None) -> None:
    lease = Lease(
        ByFamily(Prefix.parse(subnet)), LeaseAttrs(ByFamily(IPAddress.parse("192.0.2.1")))
    )
    configs = [NetworkConfig.parse(document(network)) for network in (old, new)]
    found = restart_reason(configs[0], configs[1], lease)
    assert found is None if reason is None else reason in str(found)


async def break_config(store: SubnetManager) -> None:
    assert isinstance(store, EmbeddedSubnetManager)
    await store.storage.write(lambda table: table.put_config('{"Network": "nonsense"}'))


async def test_a_lease_lost_while_the_configuration_is_broken_comes_back_when_it_is_mended() -> (
    None
):
    backend = Recording()
    async with network(document()) as store:
        assert isinstance(store, EmbeddedSubnetManager)
        agent = make(store, backend)
        async with running(agent) as task:
            await settled(agent)
            key = format_subnet_key(backend.lease.subnets)
            await break_config(store)
            await store.storage.write(lambda table: table.delete(key))
            await eventually(lambda: keeper_facts(agent)["reacquisitions"] == 1, "noticed")
            await eventually(lambda: keeper_facts(agent)["last_error"] or task.done(), "tried")
            assert not task.done(), "somebody else's mistake ended a healthy agent"
            await put(store, document())
            rows = await store.storage.read(lambda table: table.rows())
            while not rows:
                assert not task.done()
                rows = await store.storage.read(lambda table: table.rows())
                await asyncio.sleep(0.01)
            assert rows[0][0] == key


async def test_a_configuration_that_breaks_while_the_one_before_is_applied_ends_nothing() -> None:
    class Overtaken(Recording):
        async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> Recording:
            if self.events.count("register") == 1:
                await break_config(store)
            return await super().register_network(config, leases)

    backend = Overtaken()
    async with network(document(Depth=1)) as store:
        agent = make(store, backend)
        async with running(agent) as task:
            await settled(agent)
            await put(store, document(Depth=2))
            await eventually(lambda: keeper_facts(agent)["last_error"] or task.done(), "tried")
            assert not task.done(), "somebody else's mistake ended a healthy agent"
            await put(store, document(Depth=3))
            await eventually(lambda: len(backend.configs) == 2, "the next is applied")
            await settled(agent)
            assert backend.configs[-1].backend_options.get("Depth") == 3


async def test_a_configuration_that_the_network_cannot_run_with_is_refused_like_any_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Recording()
    async with network(document(Depth=1)) as store:
        agent = make(store, backend)
        async with running(agent) as task:
            await settled(agent)
            backend.run_failures = [KernelUnsupported("no such depth", 95)]
            await put(store, document(Depth=99))
            await eventually(lambda: task.done() or note(agent, "refused"), "the note")
            assert not task.done(), "somebody else's change ended a healthy agent"
            await eventually(lambda: len(backend.configs) == 3, "back to the old one")
            await settled(agent)
            depths = [config.backend_options.get("Depth") for config in backend.configs]
            assert depths == [1, 99, 1]
            await eventually(lambda: backend.events.count("retire") == 2, "cleared away")
            assert note(agent, "refused") == "no such depth"
            await put(store, document(Depth=2))
            await eventually(lambda: len(backend.configs) == 4, "the next is applied")
            await eventually(lambda: note(agent, "refused") is None, "forgotten")
    assert sum("no such depth" in record.message for record in caplog.records) == 1


async def test_what_a_network_that_ran_well_cannot_go_on_with_ends_the_agent() -> None:
    """Then it is not the changed configuration, and an older one would not help."""
    backend = Recording()
    async with network(document(Depth=1)) as store:
        agent = make(store, backend)
        async with running(agent) as task:
            await settled(agent)
            await put(store, document(Depth=2))
            await eventually(lambda: "retire" in backend.events, "applied")
            backend.run_failures = [KernelUnsupported("gone", 95)]
            await store.acquire_lease(peer(2))
            with pytest.raises(KernelUnsupported, match="gone"):
                await task


async def test_while_a_change_waits_to_be_applied_the_agent_does_not_say_that_it_runs() -> None:
    backend = Recording()
    async with network(document(Depth=1)) as store:
        agent = make(store, backend)
        async with running(agent):
            await settled(agent)
            backend.register_failures = [KernelRefused("busy", 16) for _ in range(100)]
            await put(store, document(Depth=2))
            await eventually(lambda: len(backend.register_failures) < 99, "tried")
            assert agent.status()["state"] == "starting"
            backend.register_failures = []
            await put(store, document(Depth=3))
            await settled(agent)
