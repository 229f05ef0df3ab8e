"""Acquiring and renewing: pod CIDRs, what is patched and what is left alone, nodes made again."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from flannel_sdk.errors import ConfigError, ConfigMissing, LeaseLost, StoreCorrupt, StoreUnavailable
from flannel_sdk.model import ByFamily, IPAddress, LeaseAttrs, compatible
from plugins.kube.tests.api_control import mapping
from plugins.kube.tests.store.site import (
    DUAL,
    IPV6,
    STEM,
    FakeSite,
    Site,
    annotations_of,
    conditions_of,
    data,
    published,
    subnets,
    vxlan,
    vxlan_dual,
    written,
)

VXLAN = {
    "backend-data": data("c6:d2:32:6f:8f:44"),
    "backend-type": "vxlan",
    "kube-subnet-manager": "true",
    "public-ip": "192.168.0.1",
}
VXLAN6 = {"backend-v6-data": data("c6:d2:32:6f:8f:66"), "public-ipv6": "fd00::1"}


async def test_the_lease_is_the_pod_cidr_and_stands_in_annotations(site: Site) -> None:
    await site.add("own", "10.3.7.0/24", annotations={"example.com/kept": "1"})
    store = site.open()
    lease = await store.acquire_lease(vxlan(), subnets("10.3.9.0/24"))
    assert lease.subnets == subnets("10.3.7.0/24")
    assert (lease.attrs, lease.expires_at) == (vxlan(), None)
    node = await site.object("own")
    assert published(node) == VXLAN
    assert annotations_of(node)["example.com/kept"] == "1"
    assert set(conditions_of(node)) == {"Ready"}
    assert str(lease.revision) == mapping(node["metadata"])["resourceVersion"]


async def test_d21_a_node_without_any_annotation_is_annotated(site: Site) -> None:
    await site.add("own", "10.3.7.0/24")
    assert "annotations" not in mapping((await site.object("own"))["metadata"])
    await site.open().acquire_lease(vxlan())
    assert published(await site.object("own")) == VXLAN


async def test_nothing_is_written_where_nothing_differs(site: Site) -> None:
    await site.add("own", "10.3.7.0/24")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    before = await site.object("own")
    assert await store.acquire_lease(vxlan()) == lease
    assert await store.renew_lease(lease) == lease
    assert await site.open().acquire_lease(vxlan()) == lease
    assert await site.object("own") == before


async def test_only_what_differs_is_patched(fake: FakeSite) -> None:
    await fake.add("own", "10.3.7.0/24", annotations=written("192.168.0.1"))
    await fake.open().acquire_lease(vxlan())
    name = f"{STEM}backend-data"
    assert fake.client.patches == [{"metadata": {"annotations": {name: VXLAN["backend-data"]}}}]


async def test_both_families(site: Site) -> None:
    site.path.write_text(DUAL)
    await site.add("own", "10.3.7.0/24", "fc00:0:0:7::/64")
    lease = await site.open().acquire_lease(vxlan_dual())
    assert lease.subnets == subnets("10.3.7.0/24 fc00:0:0:7::/64")
    assert published(await site.object("own")) == VXLAN | VXLAN6


async def test_what_is_held_stays_until_the_configuration_is_asked_for_again(site: Site) -> None:
    """An agent goes on with what it applied; the next one on the same store begins anew."""
    await site.add("own", "10.3.7.0/24", "fc00:0:0:7::/64")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    site.path.write_text(DUAL)
    assert await store.acquire_lease(vxlan()) == lease
    await store.get_network_config()
    lease = await store.acquire_lease(vxlan_dual())
    assert lease.subnets == subnets("10.3.7.0/24 fc00:0:0:7::/64")


async def test_one_family_of_two_pod_cidrs(site: Site) -> None:
    await site.add("own", "fc00:0:0:7::/64", "10.3.7.0/24")
    lease = await site.open().acquire_lease(vxlan())
    assert lease.subnets == subnets("10.3.7.0/24")


async def test_d21_ipv6_alone_needs_no_ipv4_pod_cidr(site: Site) -> None:
    site.path.write_text(IPV6)
    await site.add("own", "fc00:0:0:7::/64")
    attrs = replace(vxlan_dual(), public_ips=ByFamily(None, IPAddress.parse("fd00::1")))
    attrs = replace(attrs, backend_data=ByFamily(None, VXLAN6["backend-v6-data"]))
    lease = await site.open().acquire_lease(attrs)
    assert lease.subnets == subnets("fc00:0:0:7::/64")
    common = {name: VXLAN[name] for name in ("backend-type", "kube-subnet-manager")}
    assert published(await site.object("own")) == VXLAN6 | common


async def test_a_family_that_is_not_published_any_more_goes(site: Site) -> None:
    await site.add("own", "10.3.7.0/24", annotations=written("192.168.0.1", public_ipv6="fd00::1"))
    await site.annotate("own", {f"{STEM}node-public-ipv6": "fd00::1"})
    await site.open().acquire_lease(vxlan())
    assert published(await site.object("own")) == VXLAN | {"node-public-ipv6": "fd00::1"}


async def test_a_node_that_does_not_exist_yet_is_worth_another_try(site: Site) -> None:
    store = site.open()
    with pytest.raises(StoreUnavailable, match=r"no node own in kube:.*NODE_NAME"):
        await store.acquire_lease(vxlan())
    await site.add("own")
    with pytest.raises(StoreUnavailable, match="own was assigned no IPv4 pod CIDR yet"):
        await store.acquire_lease(vxlan())
    assert published(await site.object("own")) == {}
    await site.assign("own", "10.3.7.0/24")
    assert (await store.acquire_lease(vxlan())).subnets == subnets("10.3.7.0/24")


async def test_a_family_without_a_pod_cidr_is_named(site: Site) -> None:
    site.path.write_text(DUAL)
    await site.add("own", "10.3.7.0/24")
    with pytest.raises(StoreUnavailable, match="own was assigned no IPv6 pod CIDR yet"):
        await site.open().acquire_lease(vxlan_dual())


@pytest.mark.parametrize(
    ("cidr", "network", "key"),
    [
        ("10.4.7.0/24", "10.3.0.0/16", "Network"),
        ("10.0.0.0/14", "10.3.0.0/16", "Network"),
        ("fd01::/64", "fc00::/48", "IPv6Network"),
    ],
)
async def test_a_pod_cidr_outside_of_the_network_names_both(
    fake: FakeSite, cidr: str, network: str, key: str
) -> None:
    fake.path.write_text(DUAL)
    await fake.add("own", "fc00::/64" if "." in cidr else "10.3.7.0/24", cidr)
    store = fake.open()
    for ask in (store.acquire_lease(vxlan_dual()), store.get_network_config()):
        with pytest.raises(ConfigError, match=f"{cidr} of the node own .* {network}") as caught:
            await ask
        assert caught.value.key == key
    assert published(await fake.object("own")) == {}


@pytest.mark.parametrize(
    "cidrs", [("10.3.7.0/24", "fc00::/64", "10.3.8.0/24"), ("10.3.7.0/24", "10.3.8.0/24"), ("x",)]
)
async def test_pod_cidrs_that_are_no_lease_are_refused(
    fake: FakeSite, cidrs: tuple[str, ...]
) -> None:
    await fake.add("own", *cidrs)
    with pytest.raises(StoreCorrupt, match=f"node own cannot hold a lease.*{cidrs[-1]}"):
        await fake.open().acquire_lease(vxlan())


async def test_a_pod_cidr_with_host_bits_is_its_network(fake: FakeSite) -> None:
    await fake.add("own", "10.3.7.9/24")
    assert (await fake.open().acquire_lease(vxlan())).subnets == subnets("10.3.7.0/24")


async def test_the_configuration_has_room_for_what_the_cluster_assigns(site: Site) -> None:
    """Else the agent would take our own subnet for one of another network."""
    store = site.open()
    with pytest.raises(StoreUnavailable, match="no node own"):
        await store.get_network_config()
    await site.add("own", "10.3.0.0/25")
    config = await store.get_network_config()
    assert compatible((await store.acquire_lease(vxlan())).subnets, config)
    assert compatible(subnets("10.3.255.128/25"), config)


async def test_without_a_node_the_configuration_is_as_it_is_written(fake: FakeSite) -> None:
    store = fake.open(node_name=None)
    config = await store.get_network_config()
    assert config.pools.ipv4 is not None
    assert str(config.pools.ipv4.first) == "10.3.1.0"
    assert fake.client.calls == []


async def test_a_missing_or_wrong_configuration(fake: FakeSite) -> None:
    await fake.add("own", "10.3.7.0/24")
    store = fake.open()
    fake.path.write_text('{"Network":"10.3.0.0/33"}')
    for ask in (store.get_network_config, lambda: store.acquire_lease(vxlan())):
        with pytest.raises(ConfigError, match=f"^{fake.path}: Network "):
            await ask()
    fake.path.unlink()
    for ask in (store.get_network_config, lambda: store.acquire_lease(vxlan())):
        with pytest.raises(ConfigMissing, match=f"{fake.path} does not exist"):
            await ask()


async def test_attributes_without_an_address_are_refused(fake: FakeSite) -> None:
    await fake.add("own", "10.3.7.0/24")
    with pytest.raises(ConfigError) as caught:
        await fake.open().acquire_lease(LeaseAttrs(ByFamily(), "vxlan"))
    assert caught.value.key == "public-ip"


# -- renewing ----------------------------------------------------------------------


async def test_d21_wiped_annotations_are_written_again(site: Site) -> None:
    await site.add("own", "10.3.7.0/24")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    await site.annotate("own", dict.fromkeys(written()))
    renewed = await store.renew_lease(lease)
    assert published(await site.object("own")) == VXLAN
    assert renewed.revision > lease.revision
    await site.annotate("own", {f"{STEM}public-ip": "192.168.0.77"})
    await store.renew_lease(renewed)
    assert published(await site.object("own")) == VXLAN


async def test_renewing_publishes_what_the_lease_says(site: Site) -> None:
    await site.add("own", "10.3.7.0/24")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    changed = vxlan(mac="02:00:00:00:00:01")
    renewed = await store.renew_lease(replace(lease, attrs=changed))
    assert renewed.attrs == changed
    assert published(await site.object("own")) == VXLAN | {
        "backend-data": data("02:00:00:00:00:01")
    }


async def test_a_lease_of_a_node_that_is_gone_is_lost(site: Site) -> None:
    await site.add("own", "10.3.7.0/24")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    await site.delete("own")
    with pytest.raises(LeaseLost, match="node own, whose lease it is, is gone"):
        await store.renew_lease(lease)


async def test_d21_a_node_made_again_is_annotated_again(site: Site) -> None:
    await site.add("own", "10.3.7.0/24")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    await site.delete("own")
    await site.add("own", "10.3.7.0/24")
    assert (await store.renew_lease(lease)).subnets == lease.subnets
    assert published(await site.object("own")) == VXLAN


async def test_d18_a_node_made_again_with_another_pod_cidr_has_another_lease(site: Site) -> None:
    await site.add("own", "10.3.7.0/24")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    await site.delete("own")
    await site.add("own")
    with pytest.raises(LeaseLost, match=r"its pod CIDR is none and not 10\.3\.7\.0/24"):
        await store.renew_lease(lease)
    await site.assign("own", "10.3.8.0/24")
    with pytest.raises(LeaseLost, match=r"10\.3\.8\.0/24 and not 10\.3\.7\.0/24"):
        await store.renew_lease(lease)
    assert published(await site.object("own")) == {}
    assert (await store.acquire_lease(vxlan())).subnets == subnets("10.3.8.0/24")


# -- what operators say ------------------------------------------------------------


async def test_an_overwritten_public_ip_is_published_and_ours_stays_in_the_lease(
    site: Site,
) -> None:
    overwrite = {"public_ip_overwrite": "203.0.113.5", "public_ipv6_overwrite": "2001:db8::5"}
    site.path.write_text(DUAL)
    texts = {f"{STEM}{name.replace('_', '-')}": text for name, text in overwrite.items()}
    await site.add("own", "10.3.7.0/24", "fc00:0:0:7::/64", annotations=texts)
    store = site.open()
    lease = await store.acquire_lease(vxlan_dual())
    assert lease.attrs == vxlan_dual()
    node = published(await site.object("own"))
    assert (node["public-ip"], node["public-ipv6"]) == ("203.0.113.5", "2001:db8::5")
    assert await store.renew_lease(lease) == lease
    await site.annotate("own", dict.fromkeys(texts))
    await store.renew_lease(lease)
    node = published(await site.object("own"))
    assert (node["public-ip"], node["public-ipv6"]) == ("192.168.0.1", "fd00::1")


@pytest.mark.parametrize("text", ["", "somewhere", "0.0.0.0", "fd00::1", "1.2.3.4/24"])
async def test_an_overwrite_that_is_no_address_is_passed_over(
    fake: FakeSite, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    await fake.add("own", "10.3.7.0/24", annotations={f"{STEM}public-ip-overwrite": text})
    store = fake.open()
    lease = await store.acquire_lease(vxlan())
    await store.renew_lease(lease)
    assert published(await fake.object("own"))["public-ip"] == "192.168.0.1"
    assert caplog.text.count("is passed over, being no address") == bool(text)


async def test_stored_public_ips(site: Site) -> None:
    store = site.open()
    with pytest.raises(StoreUnavailable, match="no node own"):
        await store.stored_public_ips()
    await site.add("own", "10.3.7.0/24")
    assert await store.stored_public_ips() == ByFamily()
    texts = {f"{STEM}node-public-ip": "203.0.113.5", f"{STEM}node-public-ipv6": "2001:db8::5"}
    await site.annotate("own", texts)
    found = await store.stored_public_ips()
    assert found == ByFamily(IPAddress.parse("203.0.113.5"), IPAddress.parse("2001:db8::5"))
    await site.annotate("own", {f"{STEM}node-public-ip": "fd00::1"})
    with pytest.raises(ConfigError, match="'fd00::1' and no IPv4 address") as caught:
        await store.stored_public_ips()
    assert caught.value.key == f"{STEM}node-public-ip"


# -- the node's condition ----------------------------------------------------------


async def test_the_condition_is_set_and_others_stay(site: Site) -> None:
    await site.add("own", "10.3.7.0/24")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    await store.network_ready(lease)
    conditions = conditions_of(await site.object("own"))
    assert set(conditions) == {"Ready", "NetworkUnavailable"}
    told = conditions["NetworkUnavailable"]
    assert (told["status"], told["reason"]) == ("False", "FlannelIsUp")
    assert told["message"] == "Flannel is running on this node"
    assert published(await site.object("own")) == VXLAN


async def test_the_condition_is_not_set_where_that_is_off(site: Site) -> None:
    await site.add("own", "10.3.7.0/24")
    store = site.open(set_node_network_unavailable=False)
    lease = await store.acquire_lease(vxlan())
    await store.network_ready(lease)
    await site.delete("own")
    await site.add("own", "10.3.7.0/24")
    await store.renew_lease(lease)
    assert set(conditions_of(await site.object("own"))) == {"Ready"}


async def test_d21_a_node_made_again_has_the_condition_again(site: Site) -> None:
    await site.add("own", "10.3.7.0/24")
    store = site.open()
    lease = await store.acquire_lease(vxlan())
    await store.network_ready(lease)
    await site.delete("own")
    with pytest.raises(StoreUnavailable, match="no node own"):
        await store.network_ready(lease)
    await site.add("own", "10.3.7.0/24")
    await store.acquire_lease(vxlan())
    assert set(conditions_of(await site.object("own"))) == {"Ready", "NetworkUnavailable"}
    before = await site.object("own")
    await store.renew_lease(lease)
    assert await site.object("own") == before


# -- closing -----------------------------------------------------------------------


async def test_a_closed_store_says_so(site: Site) -> None:
    await site.add("own", "10.3.7.0/24")
    async with site.open() as store:
        lease = await store.acquire_lease(vxlan())
    await store.aclose()
    asks: list[Callable[[], object]] = [
        store.get_network_config,
        lambda: store.acquire_lease(vxlan()),
        lambda: store.renew_lease(lease),
        store.stored_public_ips,
        lambda: store.network_ready(lease),
    ]
    for ask in asks:
        with pytest.raises(StoreUnavailable, match=f"^{store.name} is closed.$"):
            await ask()  # type: ignore[misc]  # all of them are coroutines
