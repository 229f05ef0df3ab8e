"""Which subnet a node gets: every free one equally likely, none that overlaps, at any size."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flannel_sdk.errors import OutOfSubnets
from flannel_sdk.model import (
    ByFamily,
    Family,
    IPAddress,
    NetworkConfig,
    Prefix,
    SubnetPool,
    Subnets,
)
from flannel_sdk.model.allocation import choose_subnets, compatible, is_same_node, pick_free
from tests.unit.model.strategies import prefixes

IPV4 = NetworkConfig.parse('{"Network":"10.3.0.0/16"}')
DUAL = NetworkConfig.parse('{"Network":"10.3.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}')
IPV6 = NetworkConfig.parse('{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48"}')


def held(ipv4: str | None, ipv6: str | None = None) -> Subnets:
    return ByFamily(
        None if ipv4 is None else Prefix.parse(ipv4), None if ipv6 is None else Prefix.parse(ipv6)
    )


def pool(network: str, length: int, first: str, last: str) -> SubnetPool:
    return SubnetPool(Prefix.parse(network), length, IPAddress.parse(first), IPAddress.parse(last))


SMALL = pool("10.3.0.0/24", 27, "10.3.0.32", "10.3.0.224")


def subnets_of(pool: SubnetPool) -> list[Prefix]:
    family = pool.network.family
    size = 1 << family.bits - pool.subnet_length
    numbers = range(pool.first.to_int(), pool.last.to_int() + 1, size)
    return [Prefix(IPAddress.from_int(number, family), pool.subnet_length) for number in numbers]


@pytest.mark.parametrize(
    ("config", "subnets", "expected"),
    [
        (IPV4, held("10.3.1.0/24"), True),
        (IPV4, held("10.3.255.0/24"), True),
        (IPV4, held("10.3.0.0/24"), False),
        (IPV4, held("10.4.0.0/24"), False),
        (IPV4, held("10.3.1.0/25"), False),
        (IPV4, held("10.3.1.7/24"), False),
        (IPV4, held("10.3.1.0/24", "fc00:0:0:1::/64"), False),
        (IPV4, held(None, "fc00:0:0:1::/64"), False),
        (DUAL, held("10.3.1.0/24", "fc00:0:0:1::/64"), True),
        (DUAL, held("10.3.1.0/24"), False),
        (DUAL, held("10.3.1.0/24", "fc00::/64"), False),
        (IPV6, held(None, "fc00:0:0:1::/64"), True),
    ],
)
def test_compatible(config: NetworkConfig, subnets: Subnets, expected: bool) -> None:
    assert compatible(subnets, config) is expected


def test_d10_an_ipv6_only_node_is_known_by_its_ipv6_address() -> None:
    one, two = IPAddress.parse("fd00::1"), IPAddress.parse("fd00::2")
    ipv4, other4 = IPAddress.parse("192.0.2.1"), IPAddress.parse("192.0.2.2")
    assert is_same_node(ByFamily(None, one), ByFamily(None, one))
    assert not is_same_node(ByFamily(None, one), ByFamily(None, two))
    assert not is_same_node(ByFamily(), ByFamily())
    assert is_same_node(ByFamily(ipv4, two), ByFamily(ipv4, one))
    assert not is_same_node(ByFamily(other4, one), ByFamily(ipv4, one))
    assert is_same_node(ByFamily(None, one), ByFamily(ipv4, one))


@given(st.lists(prefixes(Family.IPV4) | st.sampled_from(subnets_of(SMALL))), st.randoms())
def test_pick_is_free_and_in_the_pool(taken: list[Prefix], rng: Random) -> None:
    free = [
        subnet for subnet in subnets_of(SMALL) if not any(subnet.overlaps(one) for one in taken)
    ]
    if free:
        assert pick_free(SMALL, taken, rng) in free
    else:
        with pytest.raises(OutOfSubnets):
            pick_free(SMALL, taken, rng)


def test_every_free_subnet_is_equally_likely() -> None:
    rng = Random(1)
    taken = [Prefix.parse("10.3.0.64/27"), Prefix.parse("10.3.0.130/32")]
    drawn = Counter(pick_free(SMALL, taken, rng) for _ in range(5000))
    assert {str(subnet) for subnet in drawn} == {
        "10.3.0.32/27",
        "10.3.0.96/27",
        "10.3.0.160/27",
        "10.3.0.192/27",
        "10.3.0.224/27",
    }
    assert all(800 < count < 1200 for count in drawn.values())


@pytest.mark.parametrize("length", [8, 16, 24, 26, 27, 28, 30, 32])
def test_overlap_of_any_length_counts(length: int) -> None:
    one = pool("10.3.0.0/16", 27, "10.3.0.32", "10.3.0.32")
    with pytest.raises(OutOfSubnets):
        pick_free(one, [Prefix(IPAddress.parse("10.3.0.33"), length)], Random(1))


def test_a_full_pool_is_said_with_its_size() -> None:
    with pytest.raises(OutOfSubnets, match=r"All 7 subnets of length /27 .* 10\.3\.0\.0/24 are"):
        pick_free(SMALL, subnets_of(SMALL), Random(1))


def test_a_huge_pool_is_not_enumerated() -> None:
    huge = pool("fc00::/48", 112, "fc00::1:0", "fc00:0:0:ffff:ffff:ffff:ffff:0")
    rng = Random(1)
    taken: list[Prefix] = []
    for _ in range(50):
        taken.append(pick_free(huge, taken, rng))
    assert len(set(taken)) == 50
    assert all(huge.network.covers(subnet) for subnet in taken)


def test_an_entry_that_would_be_the_whole_network_holds_nothing() -> None:
    config = NetworkConfig.parse('{"Network": "10.3.0.0/16"}')
    everything = [ByFamily(Prefix.parse(text)) for text in ("10.3.0.0/16", "10.0.0.0/8")]
    assert choose_subnets(config, everything, [], Random(1)).ipv4 is not None


def test_many_leases_in_a_large_pool() -> None:
    large = pool("10.0.0.0/10", 24, "10.0.1.0", "10.63.255.0")
    everything = subnets_of(large)
    free = set(everything[10_000:10_003])
    taken = [subnet for subnet in everything if subnet not in free]
    assert {pick_free(large, taken, Random(seed)) for seed in range(8)} == free


def test_wishes_are_kept_family_by_family() -> None:
    rng = Random(1)
    wish = held("10.3.7.0/24", "fc00:0:0:7::/64")
    assert choose_subnets(DUAL, [], [wish], rng) == wish
    taken = [held("10.3.7.0/24")]
    chosen = choose_subnets(DUAL, taken, [held("10.9.9.0/24"), wish], rng)
    assert chosen.ipv6 == wish.ipv6
    assert chosen.ipv4 != wish.ipv4
    assert compatible(chosen, DUAL)
    assert choose_subnets(IPV4, [], [wish], rng) == held("10.3.7.0/24")


@settings(max_examples=10)
@given(st.integers(0, 255), st.randoms())
def test_nobody_gets_a_subnet_twice(nodes: int, rng: Random) -> None:
    taken: list[Subnets] = []
    for _ in range(nodes):
        taken.append(choose_subnets(IPV4, taken, [], rng))
    assert len(set(taken)) == len(taken)
