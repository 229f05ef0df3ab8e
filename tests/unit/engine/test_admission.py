"""Admission against a model of its docstring that looks at every pair of leases each time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.engine.admission import Admission
from flannel_sdk.model import (
    ByFamily,
    IPAddress,
    Lease,
    LeaseAttrs,
    NetworkConfig,
    Prefix,
    Subnets,
)
from flannel_sdk.model.peer_checks import PeerChecks

DUAL = NetworkConfig.parse(
    '{"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fc00::/48"}'
)
ONLY4 = NetworkConfig.parse('{"Network": "10.5.0.0/16"}')


def lease(ipv4: str | None, ipv6: str | None = None, *, revision: int, good: bool = True) -> Lease:
    public_ip = "192.0.2.1" if good else "127.0.0.1"
    subnets = ByFamily(Prefix.parse(ipv4) if ipv4 else None, Prefix.parse(ipv6) if ipv6 else None)
    public_ips = ByFamily(IPAddress.parse(public_ip), IPAddress.parse("2001:db8::1"))
    return Lease(subnets, LeaseAttrs(public_ips, "vxlan"), revision=revision)


OWN = Lease(
    ByFamily(Prefix.parse("10.5.3.0/24"), Prefix.parse("fc00:0:0:3::/64")),
    LeaseAttrs(ByFamily(IPAddress.parse("192.0.2.99"), IPAddress.parse("2001:db8::99"))),
)
IPV4 = st.sampled_from(["10.5.1.0/24", "10.5.2.0/24", "10.5.3.0/24", "10.5.2.0/25", "10.5.2.0/23"])
IPV6 = st.sampled_from(["fc00:0:0:1::/64", "fc00:0:0:3::/64", "fc00::/62"])
SUBNETS = st.tuples(IPV4, st.none() | IPV6) | st.tuples(st.none(), IPV6)


@dataclass
class Model:
    """Ours before all others, then regular lengths, who was accepted before, the older entry."""

    config: NetworkConfig
    known: dict[Subnets, Lease] = field(default_factory=dict)
    accepted: dict[Subnets, Lease] = field(default_factory=dict)

    def judge(self) -> None:
        problem = PeerChecks(self.config, OWN).problem
        candidates = [
            lease
            for subnets, lease in self.known.items()
            if subnets != OWN.subnets and problem(lease) is None
        ]
        candidates.sort(
            key=lambda lease: (
                self.irregular(lease.subnets),
                lease.subnets not in self.accepted,
                lease.revision,
            )
        )
        self.accepted = {}
        for candidate in candidates:
            rivals = [OWN.subnets, *self.accepted]
            if not any(self.overlap(candidate.subnets, rival) for rival in rivals):
                self.accepted[candidate.subnets] = candidate

    def irregular(self, subnets: Subnets) -> bool:
        return any(
            prefix.length != pool.subnet_length
            for family, pool in self.config.pools.items_by_family()
            if (prefix := subnets.get(family))
        )

    def overlap(self, one: Subnets, other: Subnets) -> bool:
        return any(
            mine.overlaps(theirs)
            for family in self.config.pools.families
            if (mine := one.get(family)) and (theirs := other.get(family))
        )

    def replace(self, leases: Sequence[Lease]) -> None:
        self.known = {lease.subnets: lease for lease in leases}
        self.judge()

    def change(self, changed: Sequence[Lease], removed: Sequence[Subnets]) -> None:
        for subnets in removed:
            self.known.pop(subnets, None)
            self.accepted.pop(subnets, None)
        self.known.update((lease.subnets, lease) for lease in changed)
        self.judge()


def test_of_two_rivals_in_one_delta_the_older_wins_whichever_comes_first() -> None:
    newer = lease("10.5.1.0/24", "fc00:0:0:1::/64", revision=9)
    older = lease("10.5.1.0/24", revision=1)
    for changed in ([newer, older], [older, newer]):
        admission = Admission(ONLY4, OWN)
        admission.replace([])
        accepted, _ = admission.change(changed, [])
        assert accepted == {older.subnets: older}
        assert list(admission.refused) == [newer.subnets]


def test_one_overlapping_lease_does_not_make_each_change_a_judgement_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 50,000 leases that takes a second, in which nothing else is done."""
    admission = Admission(ONLY4, OWN)
    peer, rival = lease("10.5.1.0/24", revision=1), lease("10.5.1.0/25", revision=2)
    irregular = lease("10.5.4.0/23", revision=3)
    admission.replace([peer, rival, irregular])
    assert list(admission.refused) == [rival.subnets]
    judged: list[int] = []
    real = admission._judge_all

    def judge_all() -> Mapping[Subnets, Lease]:
        judged.append(len(admission._known))
        return real()

    monkeypatch.setattr(admission, "_judge_all", judge_all)
    for revision in range(4, 8):
        renewed = lease("10.5.1.0/24", revision=revision)
        newcomer = lease("10.5.2.0/24", revision=revision)
        assert admission.change([renewed, newcomer], []) == (
            {renewed.subnets: renewed, newcomer.subnets: newcomer}, []
        )  # fmt: skip
        assert list(admission.change([], [newcomer.subnets])[1]) == [newcomer.subnets]
    assert not judged
    accepted, ended = admission.change([], [peer.subnets])
    assert (rival.subnets in accepted, list(ended)) == (True, [peer.subnets])


@st.composite
def batches(
    draw: st.DrawFn, config: NetworkConfig
) -> list[tuple[bool, list[Lease], list[Subnets]]]:
    """Snapshots and deltas, a snapshot first; each write has a revision of its own."""
    revisions = iter(draw(st.permutations(range(32))))
    found = []
    for number in range(draw(st.integers(1, 5))):
        texts = draw(st.lists(SUBNETS, max_size=5 if number else 2, unique=True))
        leases = [
            lease(*text, revision=next(revisions), good=draw(st.integers(0, 5)) > 0)
            for text in texts
        ]
        whole = not number or draw(st.integers(0, 3)) == 0
        cut = len(leases) if whole else draw(st.integers(0, len(leases)))
        found.append((whole, leases[:cut], [gone.subnets for gone in leases[cut:]]))
    return found


@pytest.mark.parametrize("config", [DUAL, ONLY4], ids=["dual", "ipv4"])
@given(data=st.data())
def test_any_history_ends_as_a_judgement_of_every_pair_would(
    config: NetworkConfig, data: st.DataObject
) -> None:
    admission, model = Admission(config, OWN), Model(config)
    held: dict[Subnets, Lease] = {}
    for whole, changed, removed in data.draw(batches(config)):
        if whole:
            held = dict(admission.replace(changed))
            model.replace(changed)
        else:
            apply(held, *admission.change(changed, removed))
            model.change(changed, removed)
        assert held == model.accepted
        others = model.known.keys() - {OWN.subnets}
        assert admission.refused.keys() == others - held.keys()


def apply(
    held: dict[Subnets, Lease], accepted: Mapping[Subnets, Lease], ended: Iterable[Subnets]
) -> None:
    """As the feed does."""
    held.update(accepted)
    for subnets in ended:
        held.pop(subnets, None)
