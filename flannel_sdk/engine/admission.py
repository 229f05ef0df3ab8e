"""Which of the leases that others publish are believed: one bad entry harms only itself."""

from bisect import bisect_right, insort
from collections.abc import Collection, Iterable, Mapping, Sequence

from flannel_sdk.model import Family, Lease, NetworkConfig, Prefix, Subnets
from flannel_sdk.model.peer_checks import PeerChecks

_MOST_COMPARED = 64
"""Leases out of the ordinary up to which a change is compared with each; all are judged beyond."""


class Admission:
    """Judges all leases of a store together; our own is never among those accepted.

    Two leases that overlap cannot both be served: ours goes before all others, then one of the
    network's own subnet lengths (for nobody leases another by honest means), then the one that was
    accepted before, then the older entry. A refused lease is judged again when others change.
    """

    def __init__(self, config: NetworkConfig, own: Lease) -> None:
        self._own = own.subnets
        self._checks = PeerChecks(config, own)
        self._lengths = [
            (family, pool.subnet_length) for family, pool in config.pools.items_by_family()
        ]
        self._known: dict[Subnets, Lease] = {}
        self._accepted: dict[Subnets, Lease] = {}
        self._claims: dict[Prefix, Subnets] = {}
        self._irregular: set[Subnets] = set()
        """Those accepted with another length than the pool's."""
        self._waiting: set[Subnets] = set()
        """Those refused for a rival's sake, until it goes."""
        self.refused: dict[Subnets, str] = {}
        """Why each refused lease is refused, as a phrase."""

    def replace(self, leases: Iterable[Lease]) -> Mapping[Subnets, Lease]:
        """Forget all but ``leases``; gives all accepted ones."""
        self._known = {lease.subnets: lease for lease in leases}
        return self._judge_all()

    def change(
        self, changed: Sequence[Lease], removed: Sequence[Subnets]
    ) -> tuple[Mapping[Subnets, Lease], Iterable[Subnets]]:
        """Take in a delta; gives the leases accepted by it, and the peers that it ends."""
        simple = True
        ended = list(removed)
        for subnets in removed:
            # What we hold stays ours to claim until the network is registered with another lease.
            if self._known.pop(subnets, None) is not None and subnets != self._own:
                simple = simple and not self._is_awaited(subnets)
                self._forget(subnets)
        self._known.update((lease.subnets, lease) for lease in changed)
        accepted = {}
        newcomers = []
        for lease in changed if simple else ():
            subnets = lease.subnets
            if subnets == self._own:
                continue
            if (reason := self._checks.problem(lease)) is not None:
                if self._is_awaited(subnets):
                    simple = False
                    break
                self._forget(subnets)
                self.refused[subnets] = reason
                ended.append(subnets)
            elif subnets in self._accepted:
                self._accepted[subnets] = accepted[subnets] = lease
            elif self._claim(subnets) and not self._overlaps_any(subnets, self._irregular):
                self.refused.pop(subnets, None)
                newcomers.append(subnets)
                self._accepted[subnets] = accepted[subnets] = lease
            else:
                simple = False
                break
        if simple:
            return accepted, ended
        for subnets in newcomers:  # a place earlier in this delta is no right of the first
            self._accepted.pop(subnets, None)
        before = self._accepted.keys()
        after = self._judge_all()
        return after, (before | set(ended)) - after.keys()

    def _is_awaited(self, subnets: Subnets) -> bool:
        """Whether another lease may be accepted when this one, which is accepted, goes."""
        return subnets in self._accepted and self._overlaps_any(subnets, self._waiting)

    def _overlaps_any(self, subnets: Subnets, others: Collection[Subnets]) -> bool:
        """True also where there are too many ``others`` to look at each."""
        return bool(others) and (
            len(others) > _MOST_COMPARED
            or any(
                mine.overlaps(theirs)
                for family, _ in self._lengths
                if (mine := subnets.get(family)) is not None
                for other in others
                if (theirs := other.get(family)) is not None
            )
        )

    def _forget(self, subnets: Subnets) -> None:
        self._accepted.pop(subnets, None)
        self.refused.pop(subnets, None)
        self._irregular.discard(subnets)
        self._waiting.discard(subnets)
        for _, prefix in subnets.items_by_family():
            if self._claims.get(prefix) == subnets:
                del self._claims[prefix]

    def _claim(self, subnets: Subnets) -> bool:
        """Claim subnets of the pools' own lengths: equal lengths overlap only where they are equal.

        False for any other subnets and for those that another lease claims.
        """
        for family, length in self._lengths:
            prefix = subnets.get(family)
            if prefix is None:
                continue
            if prefix.length != length or self._claims.setdefault(prefix, subnets) != subnets:
                return False
        return True

    def _judge_all(self) -> Mapping[Subnets, Lease]:
        before = self._accepted
        self._accepted, self.refused = {}, {}
        self._irregular, self._waiting = set(), set()
        self._claims = {prefix: self._own for _, prefix in self._own.items_by_family()}
        problem, own = self._checks.problem, self._own
        accepted = self._accepted
        for subnets, lease in self._known.items():
            if (reason := problem(lease)) is None:
                accepted[subnets] = lease
            elif subnets != own:
                self.refused[subnets] = reason
        accepted.pop(own, None)
        if not self._claim_all():
            self._resolve_overlaps(before)
        return accepted

    def _claim_all(self) -> bool:
        """Claim for all that are accepted at once; False where two overlap, or might."""
        for family, length in self._lengths:
            place = int(family is Family.IPV6)
            claims = {prefix: subnets for subnets in self._accepted if (prefix := subnets[place])}
            count = sum(subnets[place] is not None for subnets in self._accepted)
            if len(claims) < count or any(prefix.length != length for prefix in claims):
                return False
            if not claims.keys().isdisjoint(self._claims):
                return False
            self._claims.update(claims)
        return True

    def _resolve_overlaps(self, before: Mapping[Subnets, Lease]) -> None:
        """Go through the accepted leases by rank; each keeps its subnets if nobody before has."""
        lengths = dict(self._lengths)
        ranked = sorted(
            self._accepted.values(),
            key=lambda lease: (
                not _is_regular(lease.subnets, lengths),
                lease.subnets not in before,
                lease.revision,
                lease.subnets.families,
            ),
        )
        taken = {family: _Ranges() for family, _ in self._lengths}
        for family, own in self._own.items_by_family():
            if family in taken:
                taken[family].add(own)
        for lease in ranked:
            wanted = [
                (ranges, prefix)
                for family, ranges in taken.items()
                if (prefix := lease.subnet(family)) is not None
            ]
            rival = next(
                (rival for ranges, prefix in wanted if (rival := ranges.overlapping(prefix))), None
            )
            if rival is not None:
                del self._accepted[lease.subnets]
                self._waiting.add(lease.subnets)
                self.refused[lease.subnets] = f"its subnet overlaps the lease of {rival}"
                continue
            for ranges, prefix in wanted:
                ranges.add(prefix)
        self._claims = {
            prefix: subnets
            for subnets in [self._own, *self._accepted]
            for _, prefix in subnets.items_by_family()
        }
        self._irregular = {
            subnets for subnets in self._accepted if not _is_regular(subnets, lengths)
        }


def _is_regular(subnets: Subnets, lengths: Mapping[Family, int]) -> bool:
    return all(
        prefix.length == lengths.get(family, prefix.length)
        for family, prefix in subnets.items_by_family()
    )


class _Ranges:
    """Disjoint prefixes of one family, searched by address."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int, Prefix]] = []

    def overlapping(self, prefix: Prefix) -> Prefix | None:
        """A range that shares an address with ``prefix``."""
        index = bisect_right(self._ranges, prefix.last, key=lambda found: found[0])
        if index and self._ranges[index - 1][1] >= prefix.first:
            return self._ranges[index - 1][2]
        return None

    def add(self, prefix: Prefix) -> None:
        """Take a range that overlaps none of those held."""
        insort(self._ranges, (prefix.first, prefix.last, prefix))
