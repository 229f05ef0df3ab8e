"""NodeAgent with a backend that only remembers: order, retries, re-registration, honest failure."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flannel_sdk.agent import AgentOptions, open_store
from flannel_sdk.errors import (
    ConfigError,
    FlannelError,
    KernelRefused,
    PermanentError,
    PrivilegeError,
)
from flannel_sdk.health.options import HealthOptions
from flannel_sdk.health.readiness import problems
from flannel_sdk.interfaces import SupportsConfigWrite
from flannel_sdk.model import UNKNOWN_EXPIRY, Lease
from flannel_sdk.testing.waiting import eventually
from tests.unit.agent.recording import CONFIG, Recording, first_host, make, network, peer, running


async def test_the_way_from_the_store_to_the_backend_and_subnet_env(tmp_path: Path) -> None:
    backend = Recording()
    async with network() as store:
        other = await store.acquire_lease(peer(2))
        agent = make(store, backend, tmp_path)
        async with running(agent):
            await agent.wait_registered()
            await eventually(lambda: agent.status()["state"] == "running", "running")
            await asyncio.wait_for(agent.wait_converged(), 5)
            assert backend.events == ["interface eth7", "get recording", "register", "run"]
            assert set(backend.peers) == {other.subnets}
            text = (tmp_path / "subnet.env").read_text()
            assert f"FLANNEL_SUBNET={first_host(backend.lease)}/24" in text
            assert "FLANNEL_MTU=1400" in text
            third = await store.acquire_lease(peer(3))
            await eventually(lambda: third.subnets in backend.peers, "the new peer")
        subnet = backend.lease.subnets
        again = make(store, backend, tmp_path)
        async with running(again):
            await again.wait_registered()
            assert backend.lease.subnets == subnet


@pytest.mark.parametrize(
    ("expires_at", "told", "permanent"),
    [(None, None, True), (UNKNOWN_EXPIRY, None, False), (1e9, 1e9, False)],
)
async def test_the_end_of_a_lease_is_told_in_json(
    expires_at: float | None, told: float | None, permanent: bool
) -> None:
    """Python writes infinity as a word that is no JSON."""
    backend = Recording()
    async with network() as store:
        agent = make(store, backend)
        async with running(agent):
            await agent.wait_registered()
            backend.lease = replace(backend.lease, expires_at=expires_at)
            lease = agent.status()["lease"]
    assert isinstance(lease, dict)
    assert (lease["expires_at"], lease["permanent"]) == (told, permanent)


async def test_what_can_heal_is_waited_out_and_a_defect_of_a_plugin_too() -> None:
    backend = Recording()
    backend.register_failures = [KernelRefused("busy", 16)]
    backend.run_failures = [KernelRefused("busy", 16), ZeroDivisionError("a defect")]
    async with network() as store:
        agent = make(store, backend)
        async with running(agent):
            await eventually(lambda: agent.status()["state"] == "running", "running")
        assert backend.events.count("register") == 2
        assert backend.events.count("run") == 3
        assert agent.status()["restarts"] == 2


async def test_a_defect_of_a_store_is_waited_out_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Recording()
    async with network() as store:
        for method in ("get_network_config", "acquire_lease", "watch_leases", "watch_lease"):
            real, defects = getattr(store, method), [KeyError("a defect")]

            def flawed(
                *args: object,
                real: Callable[..., object] = real,
                defects: list[KeyError] = defects,
            ) -> object:
                if defects:
                    raise defects.pop()
                return real(*args)

            monkeypatch.setattr(store, method, flawed)
        agent = make(store, backend)
        async with running(agent):
            await eventually(lambda: agent.status()["state"] == "running", "running")
    assert sum("a defect" in record.message for record in caplog.records) == 4


async def test_a_network_around_the_underlay_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    backend = Recording()
    async with network(CONFIG.replace("10.5.0.0/16", "192.0.0.0/16")) as store:
        agent = make(store, backend)
        async with running(agent):
            await agent.wait_registered()
    assert "covers eth7's own address 192.0.2.1" in caplog.text


@pytest.mark.parametrize("where", ["register_failures", "run_failures"])
async def test_a_permanent_error_ends_the_agent_as_itself(where: str) -> None:
    backend = Recording()
    setattr(backend, where, [PrivilegeError("CAP_NET_ADMIN is missing")])
    async with network() as store, asyncio.timeout(5):
        with pytest.raises(PrivilegeError, match="CAP_NET_ADMIN"):
            await make(store, backend).run()


async def test_a_configuration_that_comes_late_is_waited_for() -> None:
    backend = Recording()
    async with network(None) as store:
        agent = make(store, backend)
        async with running(agent):
            await eventually(lambda: agent.status()["state"] == "starting", "starting")
            with pytest.raises(PermanentError, match="no plan"):
                await agent.plan()
            assert isinstance(store, SupportsConfigWrite)
            await store.put_network_config(CONFIG)
            await agent.wait_registered()


async def test_a_lost_subnet_is_replaced_and_the_network_registered_again(tmp_path: Path) -> None:
    backend = Recording()
    async with network() as store:
        agent = make(store, backend, tmp_path)
        async with running(agent):
            await agent.wait_registered()
            await eventually(lambda: agent.status()["state"] == "running", "running")
            first = backend.lease
            thief = Lease(first.subnets, peer(9), first.expires_at, first.revision)
            await store.renew_lease(thief)
            await eventually(lambda: backend.events.count("register") == 2, "registered again")
            await eventually(lambda: first.subnets in backend.peers, "the thief is a peer now")
            assert backend.lease.subnets != first.subnets
            assert first_host(backend.lease) in (tmp_path / "subnet.env").read_text()


@pytest.mark.slow
async def test_d36_a_subnet_file_that_cannot_be_written_comes_later(
    tmp_path: Path,
) -> None:
    """Not only at the next start, and it is no reason to stop."""
    folder = tmp_path / "file"
    folder.write_text("")
    backend = Recording()
    async with network() as store:
        agent = make(store, backend, folder)
        async with running(agent):
            await eventually(lambda: agent.status()["state"] == "running", "running")
            (reason,) = problems(agent.status(), HealthOptions())
            assert reason == f"{folder / 'subnet.env'}: the file cannot be written: File exists"
            folder.unlink()
            await asyncio.wait_for(agent.wait_registered(), 10)
            assert (folder / "subnet.env").exists()
            assert problems(agent.status(), HealthOptions()) == []


async def test_a_store_closed_under_the_agent_does_not_stop_the_event_loop() -> None:
    async with network() as store:
        agent = make(store, Recording())
        async with running(agent):
            await agent.wait_registered()
            await store.aclose()
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_a_backend_that_ran_well_for_long_starts_again_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flannel_sdk.agent.node_agent.RAN_WELL_SECONDS", 0.0)
    backend = Recording()
    backend.run_failures = [KernelRefused("busy", 16) for _ in range(10)]
    async with network() as store, asyncio.timeout(5):
        agent = make(store, backend)
        async with running(agent):
            await eventually(lambda: agent.status()["state"] == "running", "running")


@pytest.mark.parametrize(
    ("store", "values", "sentence"),
    [
        ("sqlite", {"pth": "x"}, "no option 'pth': it takes path"),
        ("sqlite", {"ttl": "soon"}, "ttl has to be a number"),
        ("nonsense", {}, "no store is called 'nonsense'"),
    ],
)
def test_a_wrong_store_option_is_one_sentence(
    store: str, values: dict[str, str], sentence: str
) -> None:
    with pytest.raises(FlannelError, match=sentence):
        open_store(store, values)


@pytest.mark.parametrize("minutes", [0, 1440, -1, float("inf"), float("nan")])
def test_a_renew_margin_out_of_range_is_refused_by_name(minutes: float) -> None:
    with pytest.raises(ConfigError, match="subnet-lease-renew-margin"):
        AgentOptions(renew_margin=minutes * 60.0)
