"""Which subnet a node gets (flannel chapter 4.5), as pure functions shared by all stores."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flannel_sdk.errors import OutOfSubnets
from flannel_sdk.model.addresses import ByFamily, Family, IPAddress, Prefix
from flannel_sdk.model.config import NetworkConfig, SubnetPool
from flannel_sdk.model.lease import Subnets

if TYPE_CHECKING:
    from random import Random


def compatible(subnets: Subnets, config: NetworkConfig) -> bool:
    """True if ``config`` could have given these subnets: one of each enabled family, no other."""
    return subnets.families == config.pools.families and all(
        _fits(prefix, pool)
        for family, prefix in subnets.items_by_family()
        if (pool := config.pools.get(family)) is not None
    )


def is_same_node(published: ByFamily[IPAddress], own: ByFamily[IPAddress]) -> bool:
    """True if an entry that publishes these addresses belongs to the node that has ``own``.

    By the IPv4 address where both have one, else by the IPv6 address (D10).
    """
    if published.ipv4 is not None and own.ipv4 is not None:
        return published.ipv4 == own.ipv4
    return own.ipv6 is not None and published.ipv6 == own.ipv6


def choose_subnets(
    config: NetworkConfig, held: Iterable[Subnets], wanted: Iterable[Subnets], rng: "Random"
) -> Subnets:
    """A free subnet of each enabled family: the first free one of ``wanted``, else any.

    ``held`` are the subnets of all other entries. One that would be the whole network is no
    lease of it, and holds nothing. OutOfSubnets if a family has none left.
    """
    taken = list(held)
    wishes = list(wanted)
    chosen: Subnets = ByFamily()
    for family, pool in config.pools.items_by_family():
        ranges = [
            prefix
            for subnets in taken
            if (prefix := subnets.get(family)) is not None and prefix.length > pool.network.length
        ]
        wishes_here = [prefix for wish in wishes if (prefix := wish.get(family)) is not None]
        free_wish = next(
            (
                wish
                for wish in wishes_here
                if _fits(wish, pool) and not any(wish.overlaps(other) for other in ranges)
            ),
            None,
        )
        chosen = chosen.with_value(family, free_wish or pick_free(pool, ranges, rng))
    return chosen


def pick_free(pool: SubnetPool, held: Iterable[Prefix], rng: "Random") -> Prefix:
    """One of the pool's free subnets, each equally likely; OutOfSubnets if there is none.

    A subnet is free if nothing in ``held`` (of any prefix length) overlaps it. Takes
    O(held log held), however large the pool.
    """
    family = pool.network.family
    shift = family.bits - pool.subnet_length
    start = pool.first.to_int() >> shift
    count = (pool.last.to_int() >> shift) - start + 1
    spans = _taken_spans(held, family, shift, start, count)
    free = count - sum(end - begin for begin, end in spans)
    if not free:
        raise OutOfSubnets(
            f"All {count} subnets of length /{pool.subnet_length} from {pool.first} to "
            f"{pool.last} in {pool.network} are leased."
        )
    index = rng.randrange(free)
    for begin, end in spans:
        if index < begin:
            break
        index += end - begin
    return Prefix(IPAddress.from_int((start + index) << shift, family), pool.subnet_length)


def _fits(prefix: Prefix, pool: SubnetPool) -> bool:
    return (
        prefix.length == pool.subnet_length
        and len(prefix.address) == len(pool.first)
        and pool.first <= prefix.address <= pool.last
        and prefix.is_network
    )


def _taken_spans(
    held: Iterable[Prefix], family: Family, shift: int, start: int, count: int
) -> list[tuple[int, int]]:
    """The pool's leased subnets as disjoint half-open ranges of subnet numbers, ascending."""
    octets = family.bits // 8
    usual = family.bits - shift
    single: set[int] = set()
    wide: list[tuple[int, int]] = []
    for address, length in held:
        if len(address) != octets:
            continue
        number = (int.from_bytes(address, "big") >> shift) - start
        if length >= usual:
            if 0 <= number < count:
                single.add(number)
            continue
        width = 1 << usual - length
        first = number + start >> usual - length << usual - length
        begin, end = max(first - start, 0), min(first - start + width, count)
        if begin < end:
            wide.append((begin, end))
    spans: list[tuple[int, int]] = []
    for begin, end in sorted([*((number, number + 1) for number in single), *wide]):
        if spans and begin <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((begin, end))
    return spans
