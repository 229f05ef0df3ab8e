"""What a kit does while pytest collects: levels, expected failures, and no test is taken away."""

from collections.abc import Sequence

import pytest

from flannel_sdk.testing.kit.conformance import Conformance, tampering, whole_kit
from flannel_sdk.testing.kit.requirements import Requirement, requirement_of
from flannel_sdk.testing.kit.results import place

ROOT_MARK = "flannel_root"


def judged(item: pytest.Item) -> tuple[type[Conformance], Requirement] | None:
    """Of a test that judges a requirement: its class and the requirement."""
    if not isinstance(item, pytest.Function):
        return None
    cls = item.cls
    stated = requirement_of(getattr(item.function, "__func__", item.function))
    if cls is None or stated is None or not issubclass(cls, Conformance) or not whole_kit(cls):
        return None
    return cls, stated


def prepare(config: pytest.Config, items: list[pytest.Item]) -> set[str]:
    """Mark the tests of requirements, deselect levels not asked for; gives the ids of the rest.

    UsageError if a class was changed since it was defined.
    """
    level: int = config.getoption("flannel_level")
    kept: list[pytest.Item] = []
    above: list[pytest.Item] = []
    for item in items:
        found = judged(item)
        if found is None:
            kept.append(item)
            continue
        cls, stated = found
        if (problem := tampering(cls)) is not None:
            raise pytest.UsageError(problem)
        assert cls.kit is not None
        if stated.level > level:
            above.append(item)
            continue
        item.user_properties.append(place(stated, cls.kit.name, cls.subject_name(config), level))
        if stated.level >= 2:
            item.add_marker(ROOT_MARK)
        if (reason := cls.expected_failures.get(stated.id)) is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
        kept.append(item)
    _sort(kept)
    items[:] = kept
    if above:
        config.hook.pytest_deselected(items=above)
    return {item.nodeid for item in kept if judged(item) is not None}


def _sort(items: list[pytest.Item]) -> None:
    """Put the tests of each kit's class in order of ids; all others stay where they are."""
    places: dict[type[Conformance], list[int]] = {}
    for place_of_item, item in enumerate(items):
        if (found := judged(item)) is not None:
            places.setdefault(found[0], []).append(place_of_item)
    for positions in places.values():
        ordered = sorted((items[n] for n in positions), key=_id)
        for position, item in zip(positions, ordered, strict=True):
            items[position] = item


def _id(item: pytest.Item) -> str:
    found = judged(item)
    assert found is not None
    return found[1].id


def check_nothing_removed(
    before: set[str], items: Sequence[pytest.Item], deselected: set[str]
) -> None:
    """UsageError if a test of a requirement went away without having been deselected."""
    gone = before - {item.nodeid for item in items} - deselected
    if gone:
        raise pytest.UsageError(
            f"{', '.join(sorted(gone))} taken away by a hook: a requirement can only be marked,"
            " in expected_failures"
        )
