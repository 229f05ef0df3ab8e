"""Calls that fail, get no answer or are cancelled at any moment: asked again, all is well."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from flannel_sdk_kube.manager import KubeSubnetManager

from flannel_sdk.errors import LeaseLost, StoreUnavailable
from flannel_sdk.model import Lease
from plugins.kube.tests.fake_client import Fault
from plugins.kube.tests.store.site import (
    STEM,
    FakeSite,
    conditions_of,
    published,
    subnets,
    vxlan,
    written,
)

VXLAN = {
    name.removeprefix(STEM): text
    for name, text in (
        written("192.168.0.1") | {f"{STEM}backend-data": str(vxlan().backend_data.ipv4)}
    ).items()
}

Act = Callable[[KubeSubnetManager, Lease], Awaitable[object]]
ACTS: dict[str, Act] = {
    "acquire": lambda store, _: store.acquire_lease(vxlan()),
    "renew": lambda store, lease: store.renew_lease(lease),
    "ready": lambda store, lease: store.network_ready(lease),
}


async def _prepared(fake: FakeSite, act: str) -> tuple[KubeSubnetManager, Lease]:
    """A manager, whose node needs a patch whatever it is asked to do."""
    await fake.add("own", "10.3.1.0/24")
    lease = await fake.open().acquire_lease(vxlan())
    if act != "ready":
        await fake.annotate("own", dict.fromkeys(written()))
    return fake.open(), lease


def _is_done(fake: FakeSite, act: str) -> bool:
    node = fake.cluster.objects["own"]
    has_condition = "NetworkUnavailable" in conditions_of(node)
    return published(node) == VXLAN and (act != "ready" or has_condition)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("at", range(3))
async def test_a_call_that_fails_is_asked_again(
    fake: FakeSite, act: str, fault: Fault, at: int
) -> None:
    store, lease = await _prepared(fake, act)
    fake.client.faults = {at: fault}
    try:
        await ACTS[act](store, lease)
    except StoreUnavailable:
        assert len(fake.client.calls) == at + 1
        await ACTS[act](store, lease)
    else:
        assert len(fake.client.calls) <= at
    assert _is_done(fake, act)


@pytest.mark.parametrize("act", ["acquire", "renew"])
async def test_a_patch_without_an_answer_is_not_sent_again(fake: FakeSite, act: str) -> None:
    store, lease = await _prepared(fake, act)
    fake.client.faults = {2: Fault.UNANSWERED}
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await ACTS[act](store, lease)
    await ACTS[act](store, lease)
    assert len(fake.client.patches) == 1


@pytest.mark.parametrize("act", ACTS)
async def test_cancelled_at_any_await_it_leaves_nothing_half_done(fake: FakeSite, act: str) -> None:
    store, lease = await _prepared(fake, act)
    for steps in range(100):
        if act != "ready":
            await fake.annotate("own", dict.fromkeys(written()))
        task = asyncio.ensure_future(ACTS[act](store, lease))
        for _ in range(steps):
            await asyncio.sleep(0)
        if task.done():
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert published(fake.cluster.objects["own"]) in [{}, VXLAN]
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    else:
        raise AssertionError("it does not end")
    await task
    assert _is_done(fake, act)


@pytest.mark.parametrize("at", [1, 2])
async def test_a_node_deleted_meanwhile(fake: FakeSite, at: int) -> None:
    store, lease = await _prepared(fake, "renew")
    fake.client.before = {at: lambda: fake.cluster.delete_node("own")}
    with pytest.raises(LeaseLost, match="is gone"):
        await store.renew_lease(lease)
    with pytest.raises(StoreUnavailable, match="no node own"):
        await store.acquire_lease(vxlan())


async def test_a_node_made_again_meanwhile_with_another_pod_cidr(fake: FakeSite) -> None:
    def make_again() -> None:
        fake.cluster.delete_node("own")
        fake.cluster.add_node("own", "10.3.9.0/24")

    store, lease = await _prepared(fake, "renew")
    fake.client.before = {2: make_again}
    with pytest.raises(LeaseLost, match=r"is 10\.3\.9\.0/24 and not 10\.3\.1\.0/24"):
        await store.renew_lease(lease)
    await fake.annotate("own", dict.fromkeys(written()))
    fake.client.before = {len(fake.client.calls) + 1: make_again}
    assert (await store.acquire_lease(vxlan())).subnets == subnets("10.3.9.0/24")
    assert published(fake.cluster.objects["own"]) == VXLAN


async def test_somebody_who_annotates_meanwhile_is_answered(fake: FakeSite) -> None:
    store, lease = await _prepared(fake, "renew")
    overwrite = {f"{STEM}public-ip-overwrite": "203.0.113.5"}
    fake.client.before = {2: lambda: fake.cluster.annotate("own", overwrite)}
    await store.renew_lease(lease)
    assert published(fake.cluster.objects["own"])["public-ip"] == "203.0.113.5"


async def test_a_node_that_keeps_nothing_is_given_up_for_now(fake: FakeSite) -> None:
    """Something in the cluster removes what we write: no endless writing."""
    store, lease = await _prepared(fake, "renew")
    wiped = {f"{STEM}public-ip": None, f"{STEM}backend-type": None}
    real = fake.cluster.patch_status

    def stubborn(name: str, body: dict[str, object]) -> None:
        real(name, body)
        real(name, {"metadata": {"annotations": wiped}})

    fake.cluster.patch_status = stubborn  # type: ignore[method-assign,assignment]  # a webhook
    with pytest.raises(StoreUnavailable, match="node own does not keep what is written to it"):
        await store.renew_lease(lease)
    assert len(fake.client.patches) == 3


async def test_two_calls_at_once_write_one_after_the_other(fake: FakeSite) -> None:
    store, lease = await _prepared(fake, "renew")
    await asyncio.gather(store.renew_lease(lease), store.acquire_lease(vxlan()))
    assert len(fake.client.patches) == 1
