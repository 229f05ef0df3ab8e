"""The store under the core's lease keeper: what is lost comes back, and nobody writes for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flannel_sdk.engine import keeper as keeping
from flannel_sdk.engine.keeper import LeaseKeeper
from flannel_sdk.model import LeaseAttrs
from flannel_sdk.testing.waiting import eventually
from plugins.kube.tests.store.site import (
    STEM,
    FakeSite,
    conditions_of,
    data,
    published,
    subnets,
    vxlan,
    written,
)

pytestmark = pytest.mark.slow


QUIET_SECONDS = 0.3
"""In which a keeper that answers its own writes would have written many times."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "FIRST_CONTEST_WAIT", 0.01)


@asynccontextmanager
async def _kept(fake: FakeSite, attrs: LeaseAttrs) -> AsyncIterator[LeaseKeeper]:
    store = fake.open()
    keeper = LeaseKeeper(store)
    await keeper.acquire_lease(attrs)
    running = asyncio.create_task(keeper.run())
    try:
        await eventually(lambda: fake.cluster.watches == 1, "the keeper watches")
        yield keeper
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait([running])


def _says(fake: FakeSite, **texts: str) -> bool:
    found = published(fake.cluster.objects["own"])
    return all(found.get(name.replace("_", "-")) == text for name, text in texts.items())


async def _is_quiet(fake: FakeSite) -> None:
    before = len(fake.client.patches)
    await asyncio.sleep(QUIET_SECONDS)
    assert len(fake.client.patches) == before


async def test_d21_what_others_change_is_put_right(fake: FakeSite) -> None:
    await fake.add("own", "10.3.1.0/24")
    async with _kept(fake, vxlan()) as keeper:
        changes: list[dict[str, str | None]] = [
            {f"{STEM}public-ip": "192.168.0.66"},
            {f"{STEM}backend-data": data("02:00:00:00:00:01")},
            {f"{STEM}backend-type": None},
            {f"{STEM}kube-subnet-manager": "false"},
            dict.fromkeys(written()),
            {f"{STEM}public-ip": "garbage", f"{STEM}backend-data": "{"},
            {f"{STEM}public-ipv6": "fd00::1"},
        ]
        for number, change in enumerate(changes):
            await fake.annotate("own", change)
            await eventually(lambda n=number: len(fake.client.patches) == n + 2, str(change))  # type: ignore[misc]
            expected = {
                name.removeprefix(STEM): text for name, text in written("192.168.0.1").items()
            }
            expected["backend-data"] = str(vxlan().backend_data.ipv4)
            assert published(fake.cluster.objects["own"]) == expected
        await _is_quiet(fake)
        assert keeper.lease.attrs == vxlan()


async def test_overwritten_public_ips_cause_no_endless_rewriting(fake: FakeSite) -> None:
    overwrite = f"{STEM}public-ip-overwrite"
    await fake.add("own", "10.3.1.0/24", annotations={overwrite: "203.0.113.5"})
    async with _kept(fake, vxlan()) as keeper:
        assert _says(fake, public_ip="203.0.113.5")
        await _is_quiet(fake)
        assert len(fake.client.patches) == 1
        await fake.annotate("own", {overwrite: "203.0.113.6"})
        await eventually(lambda: _says(fake, public_ip="203.0.113.6"), "the new one")
        await fake.annotate("own", {overwrite: None})
        await eventually(lambda: _says(fake, public_ip="192.168.0.1"), "our own")
        await _is_quiet(fake)
        assert len(fake.client.patches) == 3
        assert keeper.lease.attrs == vxlan()


async def test_d21_a_node_deleted_and_made_again(fake: FakeSite) -> None:
    await fake.add("own", "10.3.1.0/24")
    async with _kept(fake, vxlan()) as keeper:
        await fake.delete("own")
        await asyncio.sleep(0)
        await fake.add("own", "10.3.1.0/24")
        await eventually(lambda: _says(fake, public_ip="192.168.0.1"), "annotated again")
        await fake.delete("own")
        await fake.add("own", "10.3.2.0/24")
        new = await asyncio.wait_for(keeper.subnets_changed(subnets("10.3.1.0/24")), 10)
        assert new.subnets == subnets("10.3.2.0/24")
        await eventually(lambda: _says(fake, public_ip="192.168.0.1"), "annotated again")
        await _is_quiet(fake)


async def test_d21_the_condition_of_a_node_made_again_whole(fake: FakeSite) -> None:
    """From a backup, say: all annotations are there, and the condition is not."""
    await fake.add("own", "10.3.1.0/24")
    store = fake.open()
    keeper = LeaseKeeper(store)
    lease = await keeper.acquire_lease(vxlan())
    await store.network_ready(lease)
    running = asyncio.create_task(keeper.run())
    try:
        await eventually(lambda: fake.cluster.watches == 1, "the keeper watches")
        before = fake.cluster.annotations("own")
        await fake.delete("own")
        await fake.add("own", "10.3.1.0/24", annotations={n: str(t) for n, t in before.items()})
        await eventually(
            lambda: "NetworkUnavailable" in conditions_of(fake.cluster.objects["own"]),
            "the condition",
        )
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize("overwritten", [{}, {f"{STEM}public-ip-overwrite": "203.0.113.5"}])
async def test_new_attributes_for_the_same_subnet_are_no_difference(
    fake: FakeSite, caplog: pytest.LogCaptureFixture, overwritten: dict[str, str]
) -> None:
    """The keeper goes on with the watch that it began with the attributes of before."""
    await fake.add("own", "10.3.1.0/24", annotations=overwritten)
    async with _kept(fake, vxlan()) as keeper:
        await keeper.acquire_lease(vxlan(mac="02:00:00:00:00:09"))
        await _is_quiet(fake)
        assert len(fake.client.patches) == 2
        assert keeper.status()["reacquisitions"] == 0
    assert "somebody changed" not in caplog.text


async def test_an_api_server_that_is_down_is_waited_out(fake: FakeSite) -> None:
    await fake.add("own", "10.3.1.0/24")
    async with _kept(fake, vxlan()):
        fake.client.is_down = True
        before = len(fake.client.calls)
        await fake.annotate("own", dict.fromkeys(written()))
        await eventually(lambda: len(fake.client.calls) > before, "it is tried")
        fake.client.is_down = False
        await eventually(lambda: _says(fake, public_ip="192.168.0.1"), "annotated again")
