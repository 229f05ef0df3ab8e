"""Nodes that are no leases, or claim what is another's: each hides itself alone, and is named."""

import re
from collections.abc import Mapping
from contextlib import aclosing

import pytest
from flannel_sdk_kube.annotations import AnnotationNames
from flannel_sdk_kube.lease_table import LeaseTable
from flannel_sdk_kube.node_client import NodeDelta, NodeEntry, NodeSnapshot
from flannel_sdk_kube.nodes import NodeReader

from flannel_sdk.engine.feed import LeaseFeed
from flannel_sdk.model import Family, Lease, LeaseSnapshot, NetworkConfig
from plugins.kube.tests.store.site import (
    DUAL,
    IPV4,
    STEM,
    FakeSite,
    Site,
    subnets,
    vxlan,
    written,
)
from tests.stopwatch import Stopwatch

LONG = "x" * 1_000_000
CIDR4, CIDR6 = "10.3.2.0/24", "fc00:0:0:2::/64"

BROKEN: dict[str, tuple[tuple[str, ...], Mapping[str, str], str]] = {
    "no pod CIDR": ((), written(), "no IPv4 or IPv6 pod CIDR"),
    "pod CIDR is no network": (("10.3.2/24",), written(), r"pod CIDR '10\.3\.2/24' is none"),
    "pod CIDR is everything": (("0.0.0.0/0",), written(), "not one subnet of each family"),
    "three pod CIDRs": ((CIDR4, CIDR6, "10.3.9.0/24"), written(), "not one subnet of each"),
    "two of one family": ((CIDR4, "10.3.9.0/24"), written(), "not one subnet of each family"),
    "no public IP": ((CIDR4,), written(public_ip=""), "no annotation with a public IP"),
    "zero public IP": ((CIDR4,), written(public_ip="0.0.0.0"), "no annotation with a public IP"),
    "bad public IP": ((CIDR4,), written(public_ip="1.2.3.4.5"), "public-ip is no IPv4 address"),
    "IPv6 public IP": ((CIDR4,), written(public_ip="fd00::1"), "public-ip is no IPv4 address"),
    "bad IPv6": ((CIDR4, CIDR6), written(public_ipv6="fd00"), "public-ipv6 is no IPv6 address"),
    "IPv4 as IPv6": ((CIDR4, CIDR6), written(public_ipv6="1.2.3.4"), "is no IPv6 address"),
    "bad JSON": ((CIDR4,), written(backend_data='{"VNI":1'), "backend-data is no JSON"),
    "two values": ((CIDR4,), written(backend_data="1 2"), "backend-data is no JSON"),
    "a member more": (
        (CIDR4,),
        written(backend_data='1,"PublicIP":"10.0.0.1"'),
        "backend-data is no JSON",
    ),
    "NaN": ((CIDR4,), written(backend_data="[NaN]"), "backend-data is no JSON"),
    "a lone surrogate": ((CIDR4,), written(backend_data='"\ud800"'), "backend-data is no JSON"),
    "nested deeply": ((CIDR4,), written(backend_data="[" * 30_000), "backend-data is no JSON"),
    "a long number": ((CIDR4,), written(backend_data="9" * 30_000), "backend-data is no JSON"),
    "bad IPv6 JSON": ((CIDR4,), written(backend_v6_data="x"), "backend-v6-data is no JSON"),
    "1 MB of data": ((CIDR4,), written(backend_data=f'"{LONG}"'), "backend-data is too long"),
    "1 MB of type": ((CIDR4,), written(backend_type=LONG), "backend-type is too long"),
    "1 MB of address": ((CIDR4,), written(public_ip=LONG), "public-ip is no IPv4 address"),
}


def entry(name: str, *cidrs: str, annotations: Mapping[str, str], revision: int = 1) -> NodeEntry:
    return NodeEntry(name, f"uid-{name}", cidrs, annotations, str(revision))


def reader() -> NodeReader:
    return NodeReader(AnnotationNames.of(STEM), Family)


def table(own: str | None = None) -> LeaseTable:
    return LeaseTable(reader(), own)


GOOD = entry("good", "10.3.1.0/24", annotations=written("192.168.0.1"))


@pytest.mark.parametrize(("cidrs", "annotations", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_node_hides_itself_alone(
    cidrs: tuple[str, ...], annotations: Mapping[str, str], reason: str
) -> None:
    leases = table()
    bad = entry("bad", *cidrs, annotations=annotations)
    stopwatch = Stopwatch()
    snapshot = leases.snapshot(NodeSnapshot([bad, GOOD], 1.0, 5))
    assert stopwatch.seconds < 1
    assert [lease.subnets for lease in snapshot.leases] == [subnets("10.3.1.0/24")]
    (malformed,) = snapshot.malformed
    assert malformed.key == "bad"
    assert len(malformed.reason) < 400
    assert malformed.reason.isprintable()
    assert re.search(reason, malformed.reason)
    # the same again is nothing new
    again = bad._replace(revision="9", annotations={**annotations, f"{STEM}x": "1"})
    assert leases.delta(NodeDelta([again], [], 1.0, 6)) is None


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("null", None),
        (" null ", None),
        ("", None),
        ("1", "1"),
        ("-0.5e3", "-0.5e3"),
        ("true", "true"),
        ('""', '""'),
        (' [ 1 , {"a" : "b c"} ] ', '[1,{"a":"b c"}]'),
        ('"\\u2028 \\" é"', '"\\u2028 \\" é"'),
        ('{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"}', '{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"}'),
    ],
)
def test_backend_data_is_any_json(text: str, read: str | None) -> None:
    node = entry("n", CIDR4, annotations=written(backend_data=text))
    (lease,) = table().snapshot(NodeSnapshot([node], 1.0, 5)).leases
    assert lease.attrs.backend_data.ipv4 == read


def test_an_annotation_that_is_no_text_makes_the_node_none() -> None:
    bad = GOOD._replace(problem=f"annotation {STEM}public-ip is no text")
    snapshot = table().snapshot(NodeSnapshot([bad], 1.0, 5))
    assert snapshot.leases == []
    assert "no text" in snapshot.malformed[0].reason


def test_a_node_that_is_not_managed_is_no_malformed_lease() -> None:
    bad = entry("n", annotations={f"{STEM}public-ip": "garbage"})
    snapshot = table().snapshot(NodeSnapshot([bad, bad._replace(problem="x")], 1.0, 5))
    assert (snapshot.leases, snapshot.malformed) == ([], [])


def test_a_name_that_is_no_name_is_shown_in_one_line() -> None:
    bad = entry("a\nb" * 1000, annotations=written())
    (malformed,) = table().snapshot(NodeSnapshot([bad], 1.0, 5)).malformed
    assert malformed.key.isprintable()
    assert len(malformed.key) == 200


async def test_a_node_that_claims_anothers_subnet_is_named(site: Site) -> None:
    await site.add("a", "10.3.2.0/24", annotations=written("192.168.0.2"))
    async with aclosing(site.open().watch_leases()) as watch:
        first = await anext(watch)
        assert isinstance(first, LeaseSnapshot)
        assert len(first.leases) == 1
        await site.add("aa", "10.3.2.0/24", annotations=written("192.168.0.3"))
        delta = await anext(watch)
        assert (delta.malformed[0].key, delta.malformed[0].reason) == (
            "aa",
            "Its pod CIDR 10.3.2.0/24 was that of the node a.",
        )
        assert not isinstance(delta, LeaseSnapshot)
        assert (delta.changed, delta.removed) == ([], [])
        await site.delete("a")
        delta = await anext(watch)
        assert not isinstance(delta, LeaseSnapshot)
        assert [lease.attrs.public_ips for lease in delta.changed] == [vxlan(3).public_ips]
        assert (delta.removed, delta.cleared, delta.malformed) == ([], ["aa"], [])


def test_our_own_node_keeps_its_subnet() -> None:
    leases = table("own")
    thief = entry("a", "10.3.1.0/24", annotations=written("192.168.0.66"))
    own = entry("own", "10.3.1.0/24", annotations=written("192.168.0.1"))
    snapshot = leases.snapshot(NodeSnapshot([thief, own], 1.0, 5))
    assert [lease.attrs.public_ips for lease in snapshot.leases] == [vxlan(1).public_ips]
    assert [one.key for one in snapshot.malformed] == ["a"]
    # wiped, and written again
    wiped = own._replace(annotations={})
    assert leases.delta(NodeDelta([wiped], [], 1.0, 6))
    delta = leases.delta(NodeDelta([own], [], 1.0, 7))
    assert delta is not None
    assert [lease.attrs.public_ips for lease in delta.changed] == [vxlan(1).public_ips]
    assert [one.key for one in delta.malformed] == ["a"]


async def test_what_a_node_may_not_claim_is_refused_and_named_once(
    fake: FakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    """Together with the core: outside of the network, our subnet's and our address's thieves."""
    fake.path.write_text(DUAL)
    await fake.add("own", "10.3.1.0/24", "fc00:0:0:1::/64")
    await fake.add("good", "10.3.2.0/24", annotations=written("192.168.0.2"))
    await fake.add("outside", "10.4.2.0/24", annotations=written("192.168.0.3"))
    await fake.add("impostor", "10.3.4.0/24", annotations=written("192.168.0.1"))
    await fake.add("greedy", "10.3.0.0/16", annotations=written("192.168.0.5"))
    await fake.add("wide", "10.3.0.0/17", annotations=written("192.168.0.6"))
    await fake.add("loop", "10.3.7.0/24", annotations=written("127.0.0.1"))
    await fake.add("thief", "10.3.1.0/24", "fc00:0:0:1::/64", annotations=written("192.168.0.8"))
    await fake.add("broken", "10.3.9.0/24", annotations=written("x"))
    fake.path.write_text(IPV4)
    store = fake.open()
    own: Lease = await store.acquire_lease(vxlan())
    feed = LeaseFeed(NetworkConfig.parse(IPV4), own)
    async with aclosing(store.watch_leases()) as watch:
        feed.apply(await anext(watch))
        for number in range(3):
            await fake.annotate("broken", {f"{STEM}public-ip": f"x{number}"})
            await fake.annotate("good", {f"{STEM}public-ip": f"192.168.0.{20 + number}"})
            feed.apply(await anext(watch))
    assert [str(peer.subnets.ipv4) for peer in feed.peers()] == ["10.3.2.0/24"]
    assert feed.status()["malformed"] == 2
    refused = feed.status()["refused"]
    assert isinstance(refused, dict)
    assert sum(refused.values()) == 5
    for named in ("thief", "broken", "10.4.2.0/24", "10.3.4.0/24", "10.3.0.0/16", "10.3.0.0/17"):
        assert caplog.text.count(f"entry {named}:") == 1, named
