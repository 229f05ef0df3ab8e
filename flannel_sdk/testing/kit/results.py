"""What became of each requirement: gathered from pytest's reports, counted, put into words."""

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from flannel_sdk.testing.kit.verdicts import LEFT_OUT, NOT_APPLICABLE

if TYPE_CHECKING:
    import pytest

    from flannel_sdk.testing.kit.conformance import Conformance, Kit
    from flannel_sdk.testing.kit.requirements import Requirement

PROPERTY = "flannel_requirement"
"""The user property of a test's report that says which requirement of what it judged."""

KITS = {
    "backend": ("flannel_sdk.testing.backend_kit", "BackendConformance"),
    "subnet-manager": ("flannel_sdk.testing.store_kit", "SubnetManagerConformance"),
}
"""Where the class of each kit is."""

Status = Literal[
    "held", "broken", "expected failure", "does not apply", "left out", "skipped", "not run"
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one requirement."""

    status: Status
    reason: str = ""
    """Why, where it is not held."""


NOT_RUN = Outcome("not run", "its test was not run")


@dataclass(slots=True)
class Subject:
    """A plugin that was judged by a kit."""

    kit: str
    name: str
    level: int
    """The highest level that was asked for."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """By id; what was not run is absent."""

    def rows(self) -> Iterator[tuple["Requirement", Outcome]]:
        """Every requirement up to the level, by id."""
        for stated in kit_class(self.kit).requirements:
            if stated.level <= self.level:
                yield stated, self.outcomes.get(stated.id, NOT_RUN)

    def count(self) -> tuple[int, int]:
        """How many requirements are held, of how many that apply."""
        statuses = [outcome.status for _, outcome in self.rows()]
        return statuses.count("held"), len(statuses) - statuses.count("does not apply")

    def headline(self) -> str:
        """``requirements held: N of M``, and what the rest is."""
        statuses = [outcome.status for _, outcome in self.rows()]
        held, of = self.count()
        kinds: list[Status] = [
            *("broken", "expected failure", "left out", "skipped", "not run", "does not apply")
        ]
        rest = [f"{statuses.count(kind)} {kind}" for kind in kinds if kind in statuses]
        return f"requirements held: {held} of {of}" + (f" ({', '.join(rest)})" if rest else "")

    def grouped(self, status: Status) -> list[str]:
        """One line for each reason that requirements have this status for."""
        ids: dict[str, list[str]] = {}
        for stated, outcome in self.rows():
            if outcome.status == status:
                ids.setdefault(outcome.reason, []).append(stated.id)
        every = [stated.id for stated, _ in self.rows()]
        return [f"{status}: {_range(found, every)}: {reason}" for reason, found in ids.items()]


def kit_class(name: str) -> "Kit":
    """The kit of this name, imported."""
    module, attribute = KITS[name]
    found: type[Conformance] = getattr(importlib.import_module(module), attribute)
    assert found.kit is not None
    return found.kit


class Results:
    """All subjects of one run of pytest."""

    def __init__(self) -> None:
        self.subjects: dict[tuple[str, str], Subject] = {}

    def add(self, report: "pytest.TestReport") -> None:
        """Take in one phase of one test, if it judged a requirement."""
        facts = _facts(report)
        if facts is None:
            return
        kit, name, level = str(facts["kit"]), str(facts["subject"]), facts["level"]
        assert isinstance(level, int)
        subject = self.subjects.setdefault((kit, name), Subject(kit, name, level))
        outcome = _outcome(report)
        if outcome is not None:
            known = subject.outcomes.get(str(facts["id"]))
            if known is None or known.status == "held":
                subject.outcomes[str(facts["id"])] = outcome

    def verdict(self, report: "pytest.TestReport") -> tuple["Requirement", Outcome] | None:
        """The requirement that a test judged, and what is known of it by now."""
        facts = _facts(report)
        if facts is None:
            return None
        subject = self.subjects[str(facts["kit"]), str(facts["subject"])]
        return next(row for row in subject.rows() if row[0].id == facts["id"])

    def skipped(self) -> list[str]:
        """A sentence for each subject whose requirements somebody other than the kit skipped."""
        sentences = []
        for subject in self.subjects.values():
            ids = [s.id for s, outcome in subject.rows() if outcome.status == "skipped"]
            if ids:
                sentences.append(
                    f"{subject.name}: {_listed(ids)} skipped by a mark or a fixture: a requirement"
                    " can only be marked as an expected failure, in expected_failures"
                )
        return sentences


def _facts(report: "pytest.TestReport") -> Mapping[str, object] | None:
    text = next((value for key, value in report.user_properties if key == PROPERTY), None)
    facts: Mapping[str, object] | None = json.loads(text) if isinstance(text, str) else None
    return facts


def place(stated: "Requirement", kit: str, subject: str, level: int) -> tuple[str, str]:
    """The user property of a test that judges ``stated``; text, so that it can be sent about."""
    facts = {"kit": kit, "subject": subject, "level": level, "id": stated.id}
    return PROPERTY, json.dumps(facts)


def _outcome(report: "pytest.TestReport") -> Outcome | None:
    expected = getattr(report, "wasxfail", None)
    if report.outcome == "failed":
        return Outcome("broken", _reason(report))
    if report.outcome == "passed":
        return Outcome("held") if report.when == "call" else None
    if isinstance(expected, str):
        return Outcome("expected failure", expected)
    path, reason = _skip_reason(report)
    if path.endswith("kit/conformance.py"):
        if reason.startswith(NOT_APPLICABLE):
            return Outcome("does not apply", reason.removeprefix(NOT_APPLICABLE))
        if reason.startswith(LEFT_OUT):
            return Outcome("left out", reason.removeprefix(LEFT_OUT))
    return Outcome("skipped", reason)


def _skip_reason(report: "pytest.TestReport") -> tuple[str, str]:
    if isinstance(report.longrepr, tuple):
        path, _, reason = report.longrepr
        return str(path), str(reason).removeprefix("Skipped: ")
    return "", str(report.longrepr)


def _reason(report: "pytest.TestReport") -> str:
    """The message alone."""
    crash = getattr(report.longrepr, "reprcrash", None)
    message = str(getattr(crash, "message", None) or report.longreprtext)
    return " ".join(message.removeprefix("Failed: ").split())


def _range(ids: list[str], every: list[str]) -> str:
    """``B104 to B116, B123``: with ``to`` where none of ``every`` in between is missing."""
    runs: list[list[str]] = []
    for one in ids:
        if runs and every.index(one) == every.index(runs[-1][-1]) + 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    return _listed(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(ids)
