"""Reads numbers and texts out of a status, whose parts may each be absent."""

from collections.abc import Mapping

Status = Mapping[str, object]
"""What ``NodeAgent.status`` gives: JSON-ready."""

_NOTHING: Status = {}


def part(status: Status, *path: str) -> Status:
    """The mapping at ``path``; an empty one where there is none."""
    for name in path:
        found = status.get(name)
        if not isinstance(found, Mapping):
            return _NOTHING
        status = found
    return status


def number(status: Status, *path: str) -> float | None:
    """The number (or truth, as 0 or 1) at ``path``; None where there is none."""
    found = part(status, *path[:-1]).get(path[-1])
    return float(found) if isinstance(found, bool | int | float) else None


def text(status: Status, *path: str) -> str | None:
    """The text at ``path``; None where there is none."""
    found = part(status, *path[:-1]).get(path[-1])
    return found if isinstance(found, str) else None


def counts(status: Status, *path: str) -> dict[str, float]:
    """The numbers by name at ``path``; whatever else is there is left out."""
    found = part(status, *path)
    return {name: value for name in found if (value := number(found, name)) is not None}


def rows(status: Status, name: str) -> list[Status]:
    """The mappings in a list of a status."""
    found = status.get(name)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def texts(status: Status, name: str) -> list[str]:
    """The texts in a list of a status."""
    found = status.get(name)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def first(status: Status, name: str) -> str:
    """The first of ``texts``; a question mark where there is none."""
    return next(iter(texts(status, name)), "?")
