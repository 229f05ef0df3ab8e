"""Peers that a backend cannot serve: counted by reason, each reason logged once."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from flannel_sdk.model import PeerUpdate, Subnets

_LOGGED_REASONS = 100
"""Further reasons are only counted, so that whoever writes to the store cannot fill the log."""


class Refusals:
    """Which peers are refused now, and why."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._reasons: dict[Subnets, str] = {}
        self._logged: set[str] = set()

    def add(self, peer: Subnets, reason: str, *, error: Exception | None = None) -> None:
        """``peer`` is refused from now on; ``error`` is a defect whose trace helps its author."""
        self._reasons[peer] = reason
        if reason not in self._logged and len(self._logged) < _LOGGED_REASONS:
            self._logged.add(reason)
            subnets = ", ".join(str(subnet) for _, subnet in peer.items_by_family())
            self._logger.warning("no traffic to %s: %s", subnets, reason, exc_info=error)

    def forget(self, peers: Iterable[Subnets]) -> None:
        """``peers`` are gone, or about to be judged again."""
        for peer in peers:
            self._reasons.pop(peer, None)

    def clear(self) -> None:
        """All peers are gone, or about to be judged again; what was logged stays known."""
        self._reasons.clear()

    def split(self, update: PeerUpdate) -> PeerUpdate:
        """The same update with the refused ones among ``removed``; none is removed where full."""
        reasons = self._reasons
        if not reasons:
            return update
        served = [lease for lease in update.changed if lease.subnets not in reasons]
        if update.full:
            return PeerUpdate(True, served)
        refused = [lease.subnets for lease in update.changed if lease.subnets in reasons]
        return PeerUpdate(False, served, [*update.removed, *refused])

    def by_reason(self) -> Mapping[str, int]:
        """How many peers are refused now, for each reason."""
        return dict(Counter(self._reasons.values()))
