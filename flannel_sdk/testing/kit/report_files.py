"""The report of a run as JSON and as Markdown."""

import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from flannel_sdk import __version__
from flannel_sdk.interfaces import CONTRACT_VERSION
from flannel_sdk.testing.kit.results import Subject

SUFFIXES = (".json", ".md")


def write_report(path: Path, subjects: Iterable[Subject]) -> None:
    """Write it by suffix; OSError if it cannot be written."""
    facts = [_facts(subject) for subject in subjects]
    text = _json(facts) if path.suffix == ".json" else _markdown(facts)
    path.write_text(text, encoding="utf-8")


def _facts(subject: Subject) -> dict[str, object]:
    held, of = subject.count()
    return {
        "kit": subject.kit,
        "name": subject.name,
        "level": subject.level,
        "held": held,
        "of": of,
        "summary": subject.headline(),
        "requirements": [
            {
                "id": stated.id,
                "title": stated.title,
                "level": stated.level,
                "why": stated.why,
                "status": outcome.status,
                "reason": outcome.reason,
            }
            for stated, outcome in subject.rows()
        ],
    }


def _json(facts: list[dict[str, object]]) -> str:
    document = {
        "format": 1,
        "flannel_sdk": __version__,
        "contract_version": CONTRACT_VERSION,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "subjects": facts,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _markdown(facts: list[dict[str, object]]) -> str:
    made_with = f"flannel_sdk {__version__}, contract version {CONTRACT_VERSION}"
    system = f"Python {platform.python_version()}, Linux {platform.release()}"
    lines = ["# Conformance to the contracts of flannel_sdk", "", f"{made_with}, {system}"]
    for subject in facts:
        lines += ["", f"## {subject['kit']} {subject['name']}", "", f"{subject['summary']}", ""]
        lines += ["| id | requirement | level | status |", "|---|---|---|---|"]
        requirements = subject["requirements"]
        assert isinstance(requirements, list)
        lines += [_row(row) for row in requirements]
    return "\n".join(lines) + "\n"


def _row(row: Mapping[str, object]) -> str:
    status = f"{row['status']}: {row['reason']}" if row["reason"] else f"{row['status']}"
    cells = [str(row["id"]), str(row["title"]), str(row["level"]), status]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
