"""What the running daemon tells to a doctor: its status, its peers, the store read anew, plans."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flannel_sdk.agent.status_client import ask
from flannel_sdk.errors import PermanentError
from flannel_sdk.health.facts import Status, part

PLANS = 3
_PAUSE = 0.25
"""Seconds between two plans: what is repaired within that is no fault."""


@dataclass(slots=True)
class Patient:
    """The daemon's answers. Those that it could not give are empty, with the reason beside."""

    status: Status
    peers: Sequence[Status] = ()
    inspection: Status = field(default_factory=dict)
    plans: Sequence[Sequence[Status]] = ()
    refusals: dict[str, str] = field(default_factory=dict)
    """Why a command was not answered."""

    @property
    def netns(self) -> str | None:
        """The namespace that the daemon works in, as a path; None for the one that we are in."""
        found = self.inspection.get("netns")
        return found if isinstance(found, str) else None


async def ask_patient(socket: Path) -> Patient:
    """Ask all that there is to ask; PermanentError where no daemon answers at all."""
    patient = Patient(_mapping(await asyncio.to_thread(ask, socket, "status")))
    patient.peers = _rows(await _asked(patient, socket, "peers"))
    patient.inspection = _mapping(await _asked(patient, socket, "inspect"))
    plans = []
    for attempt in range(PLANS):
        if attempt:
            await asyncio.sleep(_PAUSE)
        plans.append(_rows(await _asked(patient, socket, "plan")))
        if not plans[-1] and not part(patient.status, "dataplane").get("missing_seconds"):
            break
    patient.plans = plans
    return patient


async def _asked(patient: Patient, socket: Path, command: str) -> object:
    try:
        return await asyncio.to_thread(ask, socket, command)
    except PermanentError as error:
        patient.refusals[command] = str(error)
        return None


def _mapping(answer: object) -> Status:
    return answer if isinstance(answer, Mapping) else {}


def _rows(answer: object) -> list[Status]:
    return [row for row in answer if isinstance(row, Mapping)] if isinstance(answer, list) else []
