"""Agents on the kube store, with a backend that only remembers: the whole way, on both sites."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flannel_sdk.agent import AgentOptions, InterfaceRequest, NodeAgent
from flannel_sdk.interfaces import BackendContext, LeaseAcquirer
from flannel_sdk.model import ByFamily, ExternalInterface, LeaseAttrs, NetworkConfig
from flannel_sdk.testing.waiting import eventually
from plugins.kube.tests.store.site import (
    STEM,
    Site,
    conditions_of,
    subnets,
    vxlan,
    written,
)
from tests.unit.agent.recording import Recording, running

pytestmark = pytest.mark.slow


CONFIG = '{"Network":"10.3.0.0/16","Backend":{"Type":"recording"}}'
CHANGED = '{"Network":"10.3.0.0/16","Backend":{"Type":"recording","Option":1}}'
DUAL = CONFIG.replace('"Backend"', '"EnableIPv6":true,"IPv6Network":"fc00::/48","Backend"')
SECONDS = 20.0


class Backend(Recording):
    """Publishes its interface's public IP."""

    context: BackendContext

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> "Backend":
        public_ips = self.context.interface.public_ips
        self.lease = await leases.acquire_lease(LeaseAttrs(public_ips, config.backend_type))
        self.configs.append(config)
        return self


@pytest.fixture(autouse=True)
def _underlay(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent's interface is named by the number of its node."""

    def find(request: InterfaceRequest, *_: object) -> ExternalInterface:
        own = vxlan(int(request.interfaces[0])).public_ips
        public_ips = ByFamily(request.public_ips.ipv4 or own.ipv4)
        return ExternalInterface(request.interfaces[0], 1, 1500, own, public_ips)

    monkeypatch.setattr("flannel_sdk.agent.underlay.find_external_interface", find)


@asynccontextmanager
async def agent_on(site: Site, number: int) -> AsyncIterator[tuple[NodeAgent, Backend]]:
    """Of the node ``n<number>``."""
    backend = Backend()

    def backends(context: BackendContext) -> Backend:
        backend.context = context
        return backend

    options = AgentOptions(InterfaceRequest(str(number)))
    agent = NodeAgent(site.open(f"n{number}"), options, backends=backends)
    async with running(agent):
        await asyncio.wait_for(agent.wait_registered(), SECONDS)
        yield agent, backend


async def _has_condition(site: Site, name: str) -> None:
    async with asyncio.timeout(SECONDS):
        while "NetworkUnavailable" not in conditions_of(  # noqa: ASYNC110  # the cluster's
            await site.object(name)
        ):
            await asyncio.sleep(0.02)


async def test_two_agents_and_a_flanneld_find_each_other(site: Site) -> None:
    site.path.write_text(CONFIG)
    await site.add("n1", "10.3.0.0/24")
    await site.add("n2", "10.3.1.0/24", annotations={f"{STEM}node-public-ip": "203.0.113.2"})
    await site.add("flanneld", "10.3.2.0/24", annotations=written("192.168.0.3"))
    async with agent_on(site, 1) as (agent, one), agent_on(site, 2) as (_, two):
        seen = {subnets("10.3.1.0/24"), subnets("10.3.2.0/24")}
        await eventually(lambda: one.peers.keys() == seen, "peers", SECONDS)
        seen = {subnets("10.3.0.0/24"), subnets("10.3.2.0/24")}
        await eventually(lambda: two.peers.keys() == seen, "peers", SECONDS)
        assert str(one.peers[two.lease.subnets].attrs.public_ips.ipv4) == "203.0.113.2"
        await eventually(lambda: agent.status()["state"] == "running", "running", SECONDS)
        await _has_condition(site, "n1")
        await site.delete("flanneld")
        await eventually(lambda: len(one.peers) == 1, "removed", SECONDS)
        assert len(one.configs) == 1


async def test_a_node_deleted_and_made_again_comes_back(site: Site) -> None:
    site.path.write_text(CONFIG)
    await site.add("n1", "10.3.1.0/24")
    await site.add("n2", "10.3.2.0/24")
    async with agent_on(site, 1) as (_, one), agent_on(site, 2) as (agent, two):
        await eventually(lambda: len(one.peers) == 1, "peers", SECONDS)
        await site.delete("n2")
        await eventually(lambda: not one.peers, "gone", SECONDS)
        await site.add("n2", "10.3.9.0/24")
        seen = {subnets("10.3.9.0/24")}
        await eventually(lambda: one.peers.keys() == seen, "back", SECONDS)
        await eventually(lambda: {two.lease.subnets} == seen, "registered again", SECONDS)
        await eventually(lambda: agent.status()["state"] == "running", "running", SECONDS)


async def test_an_overwrite_is_published_while_we_run_and_our_peers_use_it(site: Site) -> None:
    site.path.write_text(CONFIG)
    await site.add("n1", "10.3.1.0/24")
    await site.add("n2", "10.3.2.0/24")
    async with agent_on(site, 1) as (_, one), agent_on(site, 2) as (agent, two):
        await eventually(lambda: len(one.peers) == 1, "peers", SECONDS)
        await site.annotate("n2", {f"{STEM}public-ip-overwrite": "203.0.113.9"})
        await eventually(
            lambda: str(one.peers[two.lease.subnets].attrs.public_ips.ipv4) == "203.0.113.9",
            "overwritten",
            SECONDS,
        )
        assert subnets("10.3.2.0/24") not in two.peers
        assert agent.status()["state"] == "running"


@pytest.mark.parametrize("cidr", ["10.3.0.0/24", "10.3.1.128/25"])
async def test_a_changed_configuration_is_applied_under_any_pod_cidr(
    site: Site, caplog: pytest.LogCaptureFixture, cidr: str
) -> None:
    """A cluster gives away subnets that flannel's own arithmetic never would."""
    site.path.write_text(CONFIG)
    await site.add("n1", cidr)
    async with agent_on(site, 1) as (agent, one):
        assert len(one.configs) == 1
        fresh = site.path.with_suffix(".new")
        fresh.write_text(CHANGED)
        fresh.replace(site.path)
        await eventually(lambda: len(one.configs) == 2, "registered again", SECONDS)
        await eventually(lambda: agent.status()["state"] == "running", "running", SECONDS)
        assert one.configs[1].backend_options.values == {"Option": 1}
    assert "restart" not in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "garbage",
        '{"Network":"10.4.0.0/16","Backend":{"Type":"recording"}}',
        DUAL,
        None,
    ],
    ids=["no configuration", "another network", "another family", "no file"],
)
async def test_a_configuration_that_is_not_applied_does_not_end_who_holds_a_lease(
    site: Site, text: str | None
) -> None:
    """Who has to be restarted for it, or cannot use it, still repairs what others change."""
    site.path.write_text(CONFIG)
    await site.add("n1", "10.3.1.0/24", "fc00:0:0:1::/64")
    await site.add("n2", "10.3.2.0/24")
    async with agent_on(site, 1) as (_, one), agent_on(site, 2) as (_, two):
        await eventually(lambda: len(two.peers) == 1, "peers", SECONDS)
        if text is None:
            site.path.unlink()
        else:
            site.path.write_text(text)
        await site.annotate("n1", {f"{STEM}public-ip-overwrite": "203.0.113.9"})
        await eventually(
            lambda: (
                [str(peer.attrs.public_ips.ipv4) for peer in two.peers.values()] == ["203.0.113.9"]
            ),
            "overwritten",
            SECONDS,
        )
        assert one.lease.subnets == subnets("10.3.1.0/24")
        assert len(one.configs) == 1


async def test_a_node_made_again_with_another_mask_needs_no_restart(site: Site) -> None:
    """As where the cluster's node mask was changed."""
    site.path.write_text(CONFIG)
    await site.add("n1", "10.3.1.0/24")
    async with agent_on(site, 1) as (agent, one):
        await site.delete("n1")
        await site.add("n1", "10.3.9.0/25")
        await eventually(
            lambda: one.lease.subnets == subnets("10.3.9.0/25"), "registered again", SECONDS
        )
        await eventually(
            lambda: (
                agent.status()["config"] == {"restart_needed": None, "refused": None}
                and [str(c.pools.ipv4 and c.pools.ipv4.subnet_length) for c in one.configs][-1]
                == "25"
            ),
            "registered with the configuration of such subnets",
            SECONDS,
        )


async def test_a_node_whose_lease_is_refused_is_named(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.path.write_text(CONFIG)
    await site.add("n1", "10.3.1.0/24")
    await site.add("good", "10.3.2.0/24", annotations=written("192.168.0.2"))
    await site.add("stray", "10.9.1.0/24", annotations=written("192.168.0.3"))
    await site.add("double", "10.3.4.0/24", annotations=written("192.168.0.1"))
    async with agent_on(site, 1) as (_, one):
        await eventually(lambda: len(one.peers) == 1, "the good one", SECONDS)
    for said in ("10.9.1.0/24 of node stray: its subnet is", "10.3.4.0/24 of node double: it pub"):
        assert caplog.text.count(said) == 1
    assert "good" not in caplog.text
