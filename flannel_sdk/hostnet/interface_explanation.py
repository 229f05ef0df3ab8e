"""Every interface of a host, and why the agent would take it, or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flannel_sdk.hostnet.external_interface import read_host
from flannel_sdk.hostnet.interface_choice import Attempt, attempts
from flannel_sdk.hostnet.interface_request import InterfaceRequest
from flannel_sdk.hostnet.links import Link
from flannel_sdk.model import ByFamily, Family, IPAddress


@dataclass(frozen=True, slots=True)
class Candidate:
    """One interface of the host."""

    link: Link
    addresses: Sequence[str]
    """All of the families asked for, the best first; those that cannot be used with the reason."""
    verdict: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was asked for, what each way gave, and what became of every interface."""

    families: Sequence[Family]
    attempts: Sequence[Attempt]
    candidates: Sequence[Candidate]
    chosen: Attempt | None
    told: ByFamily[IPAddress]
    """What peers would be told."""

    def to_json(self) -> Mapping[str, object]:
        """JSON-ready."""
        chosen = self.chosen
        return {
            "families": [str(family) for family in self.families],
            "chosen": None
            if chosen is None or chosen.link is None
            else {
                "interface": chosen.link.name,
                "mtu": chosen.link.mtu,
                "by": chosen.asked,
                "addresses": _texts(chosen.addresses),
                "public_ips": _texts(self.told),
            },
            "attempts": [
                {
                    "asked": attempt.asked,
                    "interface": attempt.link.name if attempt.link else None,
                    "addresses": _texts(attempt.addresses),
                    "problem": attempt.problem,
                    "chosen": attempt is chosen,
                }
                for attempt in self.attempts
            ],
            "interfaces": [
                {
                    "name": candidate.link.name,
                    "mtu": candidate.link.mtu,
                    "addresses": list(candidate.addresses),
                    "chosen": chosen is not None and candidate.link is chosen.link,
                    "verdict": candidate.verdict,
                }
                for candidate in self.candidates
            ],
        }


def explain(
    request: InterfaceRequest, families: Sequence[Family], netns: str | None = None
) -> Explanation:
    """What an agent that starts now would choose, and why; blocks for some ms."""
    host = read_host(request, families, netns)
    made = list(attempts(request, families, host))
    chosen = next((attempt for attempt in made if attempt.problem is None), None)
    told: ByFamily[IPAddress] = ByFamily()
    for family, address in (chosen.addresses if chosen else told).items_by_family():
        told = told.with_value(family, request.public_ips.get(family) or address)
    candidates = [
        Candidate(link, _addresses(link, families), _verdict(link, made, chosen))
        for link in host.links.values()
    ]
    return Explanation(families, made, candidates, chosen, told)


def _addresses(link: Link, families: Sequence[Family]) -> list[str]:
    found = [str(address) for family in families for address in link.addresses.usable(family)]
    for family in families:
        found += [f"{address} ({flaw})" for address, flaw in link.addresses.unusable(family)]
    return found


def _verdict(link: Link, made: Sequence[Attempt], chosen: Attempt | None) -> str:
    if chosen is not None and link is chosen.link:
        return f"chosen: {chosen.asked}"
    for attempt in made:
        if attempt.link is link and attempt.problem is None and chosen is not None:
            return f"fits {attempt.asked}, but {chosen.asked} comes before it"
        if attempt.link is link:
            return f"{attempt.asked}: {attempt.problem}"
    return "; ".join(dict.fromkeys(attempt.lost for attempt in made))


def _texts(addresses: ByFamily[IPAddress]) -> list[str]:
    return [str(address) for _, address in addresses.items_by_family()]
